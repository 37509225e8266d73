"""Options of the command line, most made from the fields of a configuration, and the two streams to write to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo
from rich.console import Console

from atm.errors import AtmError
from audit import experiment
from audit.configs import flag
from audit.system import System

console = Console(stderr=True, highlight=False)
out = Console(highlight=False)


def says(field: str) -> str | None:
    """What a field of every system means."""
    return System.model_fields[field].description


Device = Annotated[str, typer.Option(help=says("device"))]
Seed = Annotated[int, typer.Option(help=says("seed"))]
Weights = Annotated[str | None, typer.Option(help=says("weights"))]
ImageSize = Annotated[str | None, typer.Option(help=says("image_size"))]
Mean = Annotated[list[float] | None, typer.Option(help=says("mean"))]
Std = Annotated[list[float] | None, typer.Option(help=says("std"))]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the run in --out.")]
Experiment = Annotated[
    str | None, typer.Argument(metavar="EXPERIMENT.yaml", help="File with the options below; given ones override it.")
]


def asks(kind: type[System], words: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function of a configuration ``config`` and options of its own.

    The command has an option for each field of the configuration, and takes an experiment file, which the options that
    are given override.

    Args:
        kind: the configuration.
        words: a field with several values that may follow its option without repeating it.
    """
    fields = _parameters(kind)

    def decorated(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters

        @wraps(function)
        def command(context: typer.Context, experiment: str | None, **given: Any) -> None:
            asked = {name: given.pop(name) for name in fields if _was_given(context, name)}
            free = [word for word in (experiment, *context.args) if word is not None]
            config = _configuration(kind, asked, free, words)
            function(config=config, **{name: given[name] for name in own if name != "config"})

        parameters = [
            inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
            inspect.Parameter("experiment", inspect.Parameter.KEYWORD_ONLY, annotation=Experiment, default=None),
            *fields.values(),
            *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own.values() if each.name != "config"),
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorated


def _configuration(kind: type[System], asked: dict[str, Any], free: list[str], words: str | None) -> System:
    files = [word for word in free if Path(word).suffix in experiment.SUFFIXES]
    more = [word for word in free if word not in files]
    if more and words not in asked:
        follow = f"; names of {words} follow {flag(words)}" if words else ""
        raise AtmError(f"unexpected {' '.join(more)!r}: an experiment file ends in .yaml{follow}")
    if len(files) > 1:
        raise AtmError(f"{' and '.join(files)} are {len(files)} experiment files; give one")
    if words in asked:
        asked = {**asked, words: " ".join([*asked[words], *more]).replace(",", " ").split()}
    return experiment.read(files[0], kind, asked) if files else kind(**asked)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _parameters(kind: type[System]) -> dict[str, inspect.Parameter]:
    """A parameter for each field; those of a command first, and of two fields with one option the command's own."""
    own = [name for name in kind.model_fields if name not in System.model_fields]
    flags = {flag(name): name for name in [*System.model_fields, *own]}
    names = [name for name in [*own, *System.model_fields] if flags[flag(name)] == name]
    return {name: _parameter(name, kind.model_fields[name]) for name in names}


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    annotation: Any = field.annotation
    default, help = field.default, field.description
    if get_origin(annotation) is tuple and any(isinstance(each, BeforeValidator) for each in field.metadata):
        annotation, default = str | None, ",".join(f"{value:g}" for value in default) or None  # has a notation
    elif get_origin(annotation) is tuple:
        annotation, default, help = GenericAlias(list, get_args(annotation)[:1]), list(default), f"{help} Repeatable."
    option = typer.Option(flag(name), help=help, rich_help_panel="System" if name in System.model_fields else None)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[annotation, option], default=default
    )
