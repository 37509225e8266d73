"""What ``run.json`` must say for a report to be made of it.

Anybody may write one, and checksums that are right for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from atm import documents
from atm.errors import AtmError
from atm.text import printable
from atm.threat import ThreatModel
from reports.placers import handed
from reports.run import Run


def _printable(text: str) -> str:
    if text != printable(text):
        raise PydanticCustomError("printable", "text that prints")
    return text


Line = Annotated[str, AfterValidator(_printable)]  # what a terminal shows
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    """Fields that are read; others may stand beside them."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Config(_Part):
    seed: int
    repeats: Annotated[int, Field(ge=1)]
    quick: bool = False
    accept: list[str] = []
    group_by: str | None = None


class _Victim(_Part):
    name: Line
    digest: str
    layers: Count
    width: Count
    patches: Count


class _Codec(_Part):
    name: Line
    symbols_per_token: Count
    digest: str


class _Data(_Part):
    name: Line
    victims: Count
    auxiliary: Count
    removed: Count
    alike: Count
    victims_digest: str
    auxiliary_digest: str
    skipped: list[Line]
    notes: list[Line] = []


class _Recogniser(_Part):
    name: Line
    digest: str


class _Field(_Part):
    field: str
    carries: str
    protected: str
    seen_by: str = Field(alias="seen by")


class _Policy(_Part):
    name: Line
    exit_layer: int | None


class _Canary(_Part):
    attack: Line
    recognisable: float
    images: Count


class _Name(_Part):
    name: Line


class _Counted(_Part):
    name: Line
    victims: Count


class _Comparison(_Part):
    victim: _Name
    data: _Counted
    channel: Line
    threat_in_words: str
    task: Line | None


class _Swept(_Counted):
    auxiliary: Count


class _Asked(_Part):
    attacks: list[str] = []
    codecs: list[str] = []
    snr: list[float] = []
    eavesdropper_snr: list[float]


class _Sweep(_Part):
    victim: _Name
    data: _Swept
    config: _Asked
    threat_in_words: str
    codecs: Annotated[list[_Name], Field(min_length=1)]
    policies: list[_Name] = []


class _Settings(_Part):
    victim: _Victim
    threat_in_words: str
    data: _Data
    policies: Annotated[list[_Policy], Field(min_length=1)]
    attacks: list[Line]
    task: Line | None
    config: _Config
    codec: dict[str, _Codec]
    wire: dict[str, list[_Field]]
    channel: Line
    defence: Line | None = None
    inferences: list[Line] = []
    chance: dict[str, float] = {}
    denied: list[Line]
    left_out: list[Line] = []
    versions: dict[str, str]
    metrics: dict[Line, Line]
    notes: list[Line]
    created: Line
    command: str
    source_values: Annotated[int, Field(ge=1)] | None = None
    canary: _Canary | None = None
    proven: dict[str, float] = {}
    signal: Line = "image"
    recogniser: _Recogniser | None = None
    placer: str | None = None
    placer_learned_from: Count | None = None


def check_settings(run: Run) -> None:
    """Refuse settings with which no report can be made.

    Raises:
        AtmError: a field is missing or of another type, or holds what a terminal must not be sent.
    """
    where = f"{run.folder / 'run.json'}"
    _refuse_unless(_Settings, run.about, where)
    canary: Any = run.about.get("canary")  # of which the settings have checked that it is one
    if canary is not None and not isinstance(canary.get(run.measure), float):
        raise AtmError(f"{where} does not say what the canary's {run.measure} is")
    threat: Any = run.about.get("threat")
    if not isinstance(threat, dict):
        raise AtmError(f"{where} needs a field 'threat' with the adversary's fields")
    ThreatModel.from_dict(threat, where)
    if not run.policies:
        raise AtmError(f"{where} names none of the policies that were attacked")
    handed(run)


def check_comparison(about: dict[str, Any], where: Path) -> None:
    """Refuse settings with which no page of a comparison can be made. Raises `AtmError`, as `check_settings` does."""
    _refuse_unless(_Comparison, about, str(where))


def check_sweep(about: dict[str, Any], where: Path) -> None:
    """Refuse settings with which no page of a sweep can be made. Raises `AtmError`, as `check_settings` does."""
    _refuse_unless(_Sweep, about, str(where))


def _refuse_unless(kind: type[_Part], about: dict[str, Any], where: str) -> None:
    try:
        kind.model_validate(about)
    except ValidationError as error:
        raise documents.refusal(error, where) from None
