"""A device that chooses its policy while it sends: as accurate as the air allows, and never below a floor of privacy.

Candidates are policies that were measured before (accuracy over SNR, symbols, leakage). The floor decides first, then
what the air has room for, then expected accuracy. In better air than a policy was measured in it may leak more than was
measured, so it is not permitted there, and where none is, the one that leaks least is sent. A choice is kept until it
is no longer permitted, or another one has been better by a margin for some frames in a row, so that noise in the
measured SNR does not make the device hop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from atm.errors import AtmError

SMOOTHING = 0.2  # weight of the newest SNR in the running mean
ROUNDING = 0.01  # dB, by which a measured SNR may be off


@dataclass(frozen=True)
class Candidate:
    """A policy as it was measured.

    Attributes:
        name: of the policy.
        snr_db: ascending, where its accuracy was measured.
        accuracy: there, from 0 to 1; between them it is interpolated, beyond them it is that of the nearer end.
        symbols: of a frame, the mean, header included.
        leakage: the upper end of its interval, at any of the SNRs.
    """

    name: str
    snr_db: tuple[float, ...]
    accuracy: tuple[float, ...]
    symbols: float
    leakage: float

    def __post_init__(self) -> None:
        if not self.snr_db or len(self.snr_db) != len(self.accuracy) or list(self.snr_db) != sorted(set(self.snr_db)):
            raise AtmError(f"candidate {self.name!r} needs an accuracy for each of its SNRs, which ascend")

    def expected(self, snr_db: float) -> float:
        """Accuracy at an SNR."""
        return float(np.interp(snr_db, self.snr_db, self.accuracy))


class Controller:
    """Chooses a policy for every frame.

    Args:
        candidates: policies; those that leak more than the floor are never chosen.
        floor: the most that may leak.
        margin: of expected accuracy by which another policy must be better.
        patience: frames in a row for which it must be.

    Attributes:
        permitted: those that may be chosen in some air.
        least: the one of them that leaks least.
        within: those that may be chosen in the air that was measured last; ``least`` before and in better air.
        beyond: whether that air was better than any that was measured.
        current: what was chosen last; None before the first frame.

    Raises:
        AtmError: nothing leaks little enough, or a parameter is out of range.
    """

    def __init__(self, candidates: Sequence[Candidate], floor: float, margin: float = 0.02, patience: int = 5) -> None:
        if not margin >= 0 or patience < 1:
            raise AtmError("a controller's margin is at least 0 and its patience at least 1 frame")
        self.permitted = [each for each in candidates if each.leakage <= floor]
        if not self.permitted:
            raise AtmError(f"no policy leaks at most {floor:g}; take a higher floor or other policies")
        self.least = min(self.permitted, key=lambda each: each.leakage)
        self.within, self.beyond = [self.least], False
        self._margin, self._patience = margin, patience
        known = [snr for each in self.permitted for snr in each.snr_db]
        self._range = min(known), max(known)
        self._snr: float | None = None
        self._better: tuple[str, int] = ("", 0)
        self.current: Candidate | None = None

    def choose(self, snr_db: float, room: float) -> Candidate:
        """The policy of the next frame.

        Args:
            snr_db: that the receiver measured last; infinite where there is no noise.
            room: symbols that the air has for a frame at the present load. Where no permitted policy fits, the one with
                the fewest symbols is taken: the floor is not traded for room.
        """
        self.within = [each for each in self.permitted if snr_db <= each.snr_db[-1] + ROUNDING]
        self.beyond = not self.within
        self.within = self.within or [self.least]
        newest = min(max(snr_db, self._range[0]), self._range[1])  # what is infinite must not last for ever
        self._snr = newest if self._snr is None else (1 - SMOOTHING) * self._snr + SMOOTHING * newest
        fits = [each for each in self.within if each.symbols <= room]
        fits = fits or [min(self.within, key=lambda each: each.symbols)]
        snr = self._snr
        best = max(fits, key=lambda each: (each.expected(snr), -each.symbols))
        if self.current is None or self.current not in fits:
            return self._take(best)
        if best.expected(snr) <= self.current.expected(snr) + self._margin:
            self._better = ("", 0)
            return self.current
        name, count = self._better
        self._better = (best.name, count + 1 if name == best.name else 1)
        return self._take(best) if self._better[1] >= self._patience else self.current

    def _take(self, candidate: Candidate) -> Candidate:
        self.current, self._better = candidate, ("", 0)
        return candidate


@dataclass(frozen=True)
class Moment:
    """A frame of a trace: the SNR that was measured in dB, and the symbols that the air had room for."""

    snr_db: float
    room: float


@dataclass(frozen=True)
class Outcome:
    """What a way of choosing would have come to over a trace.

    Attributes:
        accuracy: expected, the mean over frames.
        symbols: the mean.
        too_large: share of the frames that the air had no room for; they count as wrong.
        leakage: the most of any policy that was used.
        switches: changes of policy.
    """

    accuracy: float
    symbols: float
    too_large: float
    leakage: float
    switches: int


def replay(trace: Iterable[Moment], chosen: Iterable[Candidate]) -> Outcome:
    """What some choices, one for each moment, come to."""
    pairs = list(zip(trace, chosen, strict=True))
    fits = [candidate.symbols <= moment.room for moment, candidate in pairs]
    right = [fit * candidate.expected(moment.snr_db) for fit, (moment, candidate) in zip(fits, pairs, strict=True)]
    names = [candidate.name for _, candidate in pairs]
    return Outcome(
        accuracy=float(np.mean(right)),
        symbols=float(np.mean([candidate.symbols for _, candidate in pairs])),
        too_large=1 - float(np.mean(fits)),
        leakage=max(candidate.leakage for _, candidate in pairs),
        switches=sum(a != b for a, b in pairwise(names)),
    )


def controlled(controller: Controller, trace: Sequence[Moment]) -> list[Candidate]:
    """The controller's choice for each moment, by what was measured in the one before."""
    before = [trace[0], *trace[:-1]]
    return [controller.choose(past.snr_db, now.room) for past, now in zip(before, trace, strict=True)]
