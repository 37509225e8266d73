"""Options that several commands have, and the two streams that all write to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from audit.command_lines import FIELDS

if TYPE_CHECKING:
    from audit.system import System

console = Console(stderr=True, highlight=False)
out = Console(highlight=False)

Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything that is random.")]
Device = Annotated[
    str, typer.Option(help="Where tensors are computed: auto (CUDA where there is one), cpu, cuda, cuda:1 or mps.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Victim = Annotated[str, typer.Option(help="Shipped victim, .safetensors file, timm name, folder or hub name.")]
Weights = Annotated[str | None, typer.Option(help="Safetensors file with a timm victim's weights.")]
ImageSize = Annotated[str | None, typer.Option(help="224, or height and width as 224x160; default: the weights'.")]
Mean = Annotated[list[float] | None, typer.Option(help="Of the input's normalisation; one for each channel.")]
Std = Annotated[list[float] | None, typer.Option(help="Likewise, its deviation.")]
Head = Annotated[
    str | None,
    typer.Option(
        help="Task head: a file of atm train head, probe to fit one to --data's training pictures, or decoder "
        "for the transcripts of Whisper's own."
    ),
]
Classes = Annotated[str | None, typer.Option(help="Text file with the names of the logits, one a line.")]
Codec = Annotated[
    str, typer.Option(help="auto, jscc, uncoded, digital:SNR or a .safetensors file; auto:16 for another rate.")
]
Channel = Annotated[str, typer.Option(help="Such as awgn:10 or rayleigh:10; see atm list channels.")]
Defense = Annotated[str | None, typer.Option(help="What the device does to its tokens, such as drop:0.5+gaussian:0.2.")]
Data = Annotated[
    str, typer.Option(help="photos, a folder or tar of class folders, a tsv of sentences, torch/cifar10, hfds/...")
]
AuxiliaryData = Annotated[str | None, typer.Option(help="Where the adversary's own come from; default: --data.")]
GroupBy = Annotated[
    str | None,
    typer.Option(help="Those of one person or scene on one side only: folder, or a regular expression on paths."),
]
LabelBy = Annotated[
    str | None, typer.Option(help="A regular expression that finds the class in a file's path; default: its folder.")
]
Threat = Annotated[str, typer.Option(help="server, eavesdropper, eavesdropper:CHANNEL or a YAML file.")]
Accept = Annotated[
    list[str] | None,
    typer.Option(help="What a policy must surely hold to be deployed, such as 'recognised<=5%'; repeatable."),
]
Quick = Annotated[bool, typer.Option("--quick", help="Few steps for every attack: a first look.")]
Budget = Annotated[
    float,
    typer.Option(
        help="Seconds per policy or system, shared by the attacks; a report says what it cut; 0 sets no limit."
    ),
]
Experiment = Annotated[
    str | None, typer.Argument(help="YAML file of a configuration, or a run's JSON file; options override it.")
]
Ray = Annotated[str | None, typer.Option(help="Address of a Ray cluster that shares the work, auto, or local.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the run in --out.")]

SYSTEM: dict[str, tuple[Any, Any]] = {
    "victim": (Victim, "vit_photos"),
    "weights": (Weights, None),
    "image_size": (ImageSize, None),
    "mean": (Mean, None),
    "std": (Std, None),
    "head": (Head, None),
    "classes": (Classes, None),
    "codec": (Codec, "auto"),
    "channel": (Channel, "awgn:10"),
    "defense": (Defense, None),
    "data": (Data, "photos"),
    "auxiliary_data": (AuxiliaryData, None),
    "group_by": (GroupBy, None),
    "label_by": (LabelBy, None),
    "threat": (Threat, "server"),
    "seed": (Seed, 0),
    "device": (Device, "auto"),
}
"""What describes a system and its adversary (`audit.system`): parameters with their options and defaults."""

EXPERIMENTS = (".yaml", ".yml", ".json")

C = TypeVar("C", bound="System")


def configured(context: typer.Context, make: type[C], experiment: str | None, **changes: Any) -> C:
    """The configuration that a command line asks for: its parameters fill the fields of their names.

    Those of `audit.command_lines.FIELDS` fill the fields that it has for them.

    Args:
        context: of the command.
        make: the configuration's class.
        experiment: a file of its fields, which what the user gave overrides; or None.
        changes: fields whose parameters must be read first; they count as given where their parameters are.

    Raises:
        AtmError: the file cannot be read, or a field is unknown or of another type.
    """
    known, asked = {field.name for field in fields(make)}, dict[str, Any]()
    for parameter, value in context.params.items():
        source = context.get_parameter_source(parameter)
        field = next((name for name in (FIELDS.get(parameter), parameter) if name in known), None)
        if field is None or source is None or source.name == "DEFAULT":
            continue
        value = changes.get(field, value)
        asked[field] = tuple(value) if isinstance(value, list) else value
    return make(**asked) if experiment is None else make.read(experiment, **asked)


def of_system(*without: str, before: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `SYSTEM`, whose values it takes from its context (`configured`).

    Args:
        without: those that it has not; one that it declares itself stays as it is.
        before: its parameter before which they stand.
    """

    def given(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = list(signature.parameters.values())
        place = [parameter.name for parameter in own].index(before)
        shared = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=option)
            for name, (option, default) in SYSTEM.items()
            if name not in without and name not in signature.parameters
        ]

        @wraps(command)
        def run(**values: Any) -> None:
            command(**{parameter.name: values[parameter.name] for parameter in own})

        parameters = [*own[:place], *shared, *own[place:]]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return given
