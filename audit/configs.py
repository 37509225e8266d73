"""What ``atm attack``, ``atm compare`` and ``atm sweep`` are asked for, beside the system."""

from __future__ import annotations

import math
import shlex
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field

from atm.errors import AtmError
from audit.system import Auxiliary, Lax, Policies, System, Threat, Words

MOST_SNRS = 1000
ONE_OF = {"policies": "policy", "attacks": "attack", "channels": "channel", "codecs": "codec", "defenses": "defense"}


def flag(field: str) -> str:
    """The option that sets a field: ``--auxiliary-data``, ``--policy``."""
    return "--" + ONE_OF.get(field, field.replace("_", "-"))


def grid(text: str) -> tuple[float, ...]:
    """SNRs in dB from ``FIRST:LAST:STEP``, the last included, or from a list ``0,5,10``.

    Raises:
        AtmError: it is neither.

    Examples:
        >>> grid("0:6:3"), grid("10")
        ((0.0, 3.0, 6.0), (10.0,))
    """
    try:
        if ":" not in text:
            values = [float(word) for word in text.split(",")]
        else:
            first, last, step = (float(word) for word in text.split(":"))
            steps = math.floor((last - first) / step + 1e-9)
            values = [first + i * step for i in range(min(steps, MOST_SNRS) + 1)]
    except (ValueError, ZeroDivisionError, OverflowError):
        values = []
    if not values or len(values) > MOST_SNRS or not all(map(math.isfinite, values)):
        raise AtmError(f"{text!r} is no range of SNRs; write for example 0:20:2 (first, last, step) or 0,5,10")
    return tuple(round(value, 6) for value in dict.fromkeys(values))


def _grid(given: Any) -> Any:
    return grid(given) if isinstance(given, str) else given


Grid = Annotated[tuple[float, ...], Lax, BeforeValidator(_grid)]


class AttackConfig(System):
    """What ``atm attack`` is asked for.

    No ``attacks``, or ``standard``, means all that the threat model permits; blind baselines always run. ``budget`` is
    in seconds for each policy, shared in proportion to what attacks can make of them (`attacks.base.Method`): they
    choose at the start how many steps each takes. None, which is 0 on the command line, sets no limit.
    """

    policies: Policies = ("none", "moderate", "aggressive")
    attacks: Annotated[Words, Field(description="Attack to run; default: standard, all permitted ones.")] = ()
    repeats: Annotated[
        int, Field(description="Fits and sendings of everything, each with other seeds and channel draws.")
    ] = 1
    quick: Annotated[bool, Field(description="Few steps for every attack: a first look; a report says so.")] = False
    budget: Annotated[
        float | None,
        AfterValidator(lambda seconds: seconds or None),
        Field(description="Seconds per policy, shared by the attacks; a report says what it cut; 0 sets no limit."),
    ] = 600.0
    replay: Annotated[
        str | None,
        Field(description="Run whose numbers of steps are taken again, whatever the machine and --budget."),
    ] = None

    def command(self, out: str) -> str:
        """The command line that asks for the same."""
        words = ["atm", "attack"]
        for key, value in self:
            if isinstance(value, bool):
                words += [flag(key)] * value
                continue
            if key == "budget" and value is None:
                value = 0  # the command line has a limit unless told otherwise
            values = value if isinstance(value, tuple) else (value,)
            words += [word for v in values if v is not None for word in (flag(key), str(v))]
        return shlex.join([*words, "--out", out])


class CompareConfig(System):
    """What ``atm compare`` is asked for.

    Each of ``policies`` brings with it dropping of its bandwidth and noise of its accuracy. ``defenses`` are further
    ones, of unmerged tokens; the shared ``defense`` is the first of them.
    """

    policies: Policies = ("moderate", "aggressive")
    defenses: Annotated[Words, Field(description="Further defence of unmerged tokens, such as quantize:4.")] = ()
    attacks: Annotated[Words, Field(description="Attack to run.")] = ("ridge", "decoder")
    auxiliary: Auxiliary = 2000

    @property
    def others(self) -> list[str]:
        """The defences that merging is compared with, each once."""
        asked = dict.fromkeys([self.defense, *self.defenses])
        return [text for text in asked if text not in (None, "none")]


class SweepConfig(System):
    """What ``atm sweep`` is asked for: every policy with each codec over each channel at each SNR.

    SNRs are in dB. Where ``channels`` or ``codecs`` are empty, they are the kind of the shared ``channel`` and the
    shared ``codec``. No ``eavesdropper_snr`` makes hers the link's at every point, no ``eavesdropper_channel`` the
    link's kind. ``threat`` says what both adversaries know. The leakage is that of the best attack for each picture.
    """

    snr: Annotated[Grid, Field(description="SNRs of the link in dB: FIRST:LAST:STEP or a list 0,5,10.")] = (
        0.0, 5.0, 10.0, 15.0, 20.0,
    )  # fmt: skip
    channels: Annotated[
        Words, Field(description="Channel without its SNR, such as awgn or rician,k=3; default: awgn.")
    ] = ()
    codecs: Annotated[
        Words, Field(description="auto, uncoded, digital:SNR or a .safetensors file; default: auto.")
    ] = ()
    eavesdropper_snr: Annotated[
        Grid, Field(description="Her SNRs in dB, written as --snr; default: the link's at every point.")
    ] = ()
    eavesdropper_channel: Annotated[
        str | None, Field(description="Her channel without its SNR; default: the link's kind.")
    ] = None
    policies: Policies = ("none", "moderate", "aggressive")
    attacks: Annotated[Words, Field(description="Attack to run, trained anew at each point.")] = ("ridge",)
    threat: Threat = "eavesdropper"
    auxiliary: Auxiliary = 1000

    def filled(self) -> Self:
        """The same with what empty ``channels`` and ``codecs`` stand for."""
        return self.but(channels=self.channels or (_kind(self.channel),), codecs=self.codecs or (self.codec,))


def _kind(channel: str) -> str:
    """``rician:10,k=3`` -> ``rician,k=3``."""
    name, comma, options = channel.partition(",")
    return name.partition(":")[0] + comma + options
