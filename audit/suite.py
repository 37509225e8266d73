"""Which attacks and inferences run against an adversary's system."""

from __future__ import annotations

from atm.errors import KnowledgeError, unknown
from atm.threat import ThreatModel
from attacks import BLIND, Attack, available, inferences
from attacks.base import require

STANDARD = "standard"  # the name of the suite that runs where no attack is named
ALL = "all"  # of every attack that is of use to an adversary
GROUPS = (STANDARD, ALL)


def choose_attacks(names: tuple[str, ...], threat: ThreatModel) -> tuple[list[str], list[str]]:
    """The blind baselines and the attacks of these names, or of the suite; and those that are denied.

    Raises:
        AtmError: there is no attack of such a name.
        KnowledgeError: the threat model denies what one of them needs.
    """
    known, others = available(), inferences()
    for name in names:
        if name not in (*known, *others, *GROUPS):
            raise unknown("attack", name, [*known, *others, *GROUPS])
    asked = [name for name in names if name in known]
    for name in asked:
        require(known[name], threat)
    # Those that take steps come last, and under a time budget the last get what the others left of it.
    cheap_first = sorted(known, key=lambda name: known[name].order)
    grouped = not names or bool({*names} & {*GROUPS})
    of_group = [name for name in cheap_first if grouped and (known[name].standard or ALL in names)]
    wanted = [name for name in cheap_first if name in {*asked, *of_group}] if grouped else asked
    chosen, denied = [], []
    for name in dict.fromkeys([*BLIND, *wanted]):
        try:
            require(known[name], threat)
        except KnowledgeError:
            denied.append(name)
        else:
            if name in asked or not _needless(known[name], threat):
                chosen.append(name)
    return chosen, denied


def _needless(attack: type[Attack], threat: ThreatModel) -> bool:
    """Whether an attack makes up for knowledge that the adversary has."""
    return attack.instead_of is not None and attack.instead_of in threat.knows


def choose_inferences(names: tuple[str, ...], threat: ThreatModel) -> list[str]:
    """Those asked for; where no attack or a group of them is named, all that the threat model permits."""
    known, chosen = inferences(), []
    grouped = not names or bool({*names} & {*GROUPS})
    for name in known if grouped else [name for name in dict.fromkeys(names) if name in known]:
        try:
            require(known[name], threat)
        except KnowledgeError:
            if name in names:
                raise
        else:
            chosen.append(name)
    return chosen


def left_out(chosen: list[str], threat: ThreatModel) -> list[str]:
    """Attacks that rebuild pictures, permitted and not chosen."""
    return [name for name in choose_attacks((), threat)[0] if name not in chosen]
