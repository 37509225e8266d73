"""The one description of a system and its adversary, which every command's configuration begins with."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from atm import documents
from atm.errors import AtmError

STRICT = ConfigDict(strict=True, extra="forbid")


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _written(value: Any) -> Any:
    return str(value) if type(value) is int else value


Side = Annotated[str, BeforeValidator(_written)]  # of a picture, in pixels: 224, or as in 224x160
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_listed)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class System:
    """A victim, its data, and the adversary. Fields are typed strictly; lists are taken for tuples.

    Attributes:
        victim: see `atm.victims.load_victim`.
        weights: a file with a timm victim's weights.
        image_size: ``224`` or ``224x160``; None takes what the weights were made for.
        mean: per channel, that the victim's input is normalised with; empty takes its configuration's.
        std: per channel, likewise.
        head: a file of ``atm train head``, or ``probe`` to fit one to training pictures of ``data``.
        classes: a text file with the names of the logits; None takes the victim's.
        data: see `atm.data.load`; the attacked pictures.
        auxiliary_data: where the adversary's own pictures come from; None takes them from ``data``.
        group_by: ``folder`` or a regular expression on paths; groups of pictures that are on one side only, see
            `atm.data.groups`.
        label_by: a regular expression that finds a picture's class in its path, see `atm.data.load`; None takes its
            folder.
        threat: see `atm.threat.load`.
        images: pictures that are attacked.
        auxiliary: the adversary's own pictures, at most.
        seed: of everything that is random.
        device: where tensors are computed, see `atm.device.resolve`.

    Raises:
        AtmError: a field is unknown or of another type.
    """

    COMMAND: ClassVar[str] = "atm"

    victim: str = "vit_photos"
    weights: str | None = None
    image_size: Side | None = None
    mean: Numbers = ()
    std: Numbers = ()
    head: str | None = None
    classes: str | None = None
    data: str = "photos"
    auxiliary_data: str | None = None
    group_by: str | None = None
    label_by: str | None = None
    threat: str = "server"
    images: int = 100
    auxiliary: int = 4000
    seed: Seed = 0
    device: str = "auto"

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, given: Any, handler: Any) -> Any:
        try:
            return handler(given)
        except ValidationError as error:
            raise documents.refusal(error, cls.COMMAND, [field.name for field in fields(cls)]) from None

    @classmethod
    def of(cls, other: System, **changes: Any) -> Self:
        """The fields that another configuration shares with this one, changed where asked, the rest as by default."""
        mine = {field.name for field in fields(cls)}
        return cls(**{**{name: value for name, value in asdict(other).items() if name in mine}, **changes})

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON has them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def read(cls, path: str, **changes: Any) -> Self:
        """A configuration from a YAML file of its fields or from a run's JSON file, changed where asked.

        Raises:
            AtmError: it cannot be read, or a field is unknown or of another type.
        """
        content = documents.read(path, "experiment")
        content = content["config"] if isinstance(content.get("config"), dict) else content
        try:
            return cls(**{**content, **changes})
        except AtmError as error:
            raise AtmError(f"experiment file {path}: {error}") from None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OnAir(System):
    """A system with one codec over one channel.

    Attributes:
        codec: see `atm.codecs.load_codec`.
        channel: see `atm.channels.parse`.
    """

    codec: str = "auto"
    channel: str = "awgn:10"
