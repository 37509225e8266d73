"""Which attacks and inferences run against an adversary's system."""

from __future__ import annotations

from typing import Any

from atm.errors import AtmError, KnowledgeError, unknown
from atm.signals import kind
from atm.threat import ThreatModel
from attacks import BASELINES, available, inferences
from attacks.base import Method, require

STANDARD = "standard"  # the name of the suite that runs where no attack is named
ALL = "all"  # of every attack that is of use to an adversary
GROUPS = (STANDARD, ALL)
CLOSED_FORM, LEARNED = "closed-form", "learned"  # names of what `attacks.baselines` has for a kind of signal


def choose_attacks(
    names: tuple[str, ...], threat: ThreatModel, signal: str = "image", prior: bool = False
) -> tuple[list[str], list[str]]:
    """The blind baselines and the attacks of these names, or of the suite; and those that are denied.

    Raises:
        AtmError: there is no attack of such a name, it is for another kind of signal, or cannot run on this machine.
        KnowledgeError: the threat model denies what one of them needs, or what all do that stand for others.
    """
    known, others = _serving(available(), signal), _serving(inferences(), signal)
    roles = _roles(signal)
    for name in names:
        _check(name, [*known, *others, *GROUPS, *roles], signal)
    asked = [name for name in names if name in known]
    standing = [roles[name] for name in names if name in roles]
    for name in asked:
        require(known[name], threat)
        if known[name].needs_prior and not prior:
            raise AtmError(f"attack {name!r} needs a language model; give its folder as --prior")
        if lacking := known[name].lacks():
            raise AtmError(lacking)
    # Those that take steps come last, and under a time budget the last get what the others left of it.
    cheap_first = sorted(known, key=lambda name: known[name].order)
    grouped = _grouped(names)
    usable = [name for name in cheap_first if prior or not known[name].needs_prior]
    of_group = [name for name in usable if grouped and _in_group(known[name], names)]
    named = [*asked, *standing]
    wanted = [name for name in cheap_first if name in {*named, *of_group}] if grouped else named
    chosen, denied = [], []
    for name in dict.fromkeys([*BASELINES[signal].blind, *wanted]):
        try:
            require(known[name], threat)
        except KnowledgeError:
            denied.append(name)
        else:
            if name in asked or not (_needless(known[name], threat) or known[name].lacks()):
                chosen.append(name)
    if standing and not {*chosen} & {*asked, *standing, *of_group}:
        require(known[standing[0]], threat)
    return chosen, denied


def lacking(names: tuple[str, ...], signal: str) -> list[str]:
    """Why attacks of a group that was asked for cannot run on this machine, a line for each."""
    wanted = [attack for attack in _serving(available(), signal).values() if _in_group(attack, names)]
    return [line for attack in wanted if (line := attack.lacks())] if _grouped(names) else []


def _grouped(names: tuple[str, ...]) -> bool:
    """Whether names stand for a group; none stand for the suite."""
    return not names or bool({*names} & {*GROUPS})


def _in_group(attack: type[Method], names: tuple[str, ...]) -> bool:
    return attack.standard or ALL in names


def unblind(chosen: list[str], names: tuple[str, ...], signal: str) -> list[str]:
    """Of what `choose_attacks` chose the attacks that read tokens, and the baselines that were asked for by name.

    Raises:
        AtmError: there is none, or one of the names is an inference, which rebuilds nothing to measure leakage by.
    """
    for name in names:
        if name in inferences():
            raise AtmError(
                f"{name!r} infers and rebuilds nothing, so no leakage is measured by it; run it by 'atm attack'"
            )
    found = [name for name in chosen if name in names or name not in BASELINES[signal].blind]
    if not found:
        raise AtmError("no attack is left that rebuilds anything from tokens; name one with --attack")
    return found


def _roles(signal: str) -> dict[str, str]:
    return {CLOSED_FORM: BASELINES[signal].closed_form, LEARNED: BASELINES[signal].learned}


def _serving(known: dict[str, type[Any]], signal: str) -> dict[str, type[Any]]:
    return {name: attack for name, attack in known.items() if attack.serves(signal)}


def _check(name: str, known: list[str], signal: str) -> None:
    if name in known:
        return
    if found := {**available(), **inferences()}.get(name):
        raise AtmError(
            f"attack {name!r} is not for {kind(signal).noun}s of the kind {signal!r}, which this victim takes, but for "
            f"{', '.join(found.signals)}; see 'atm list attacks'"
        )
    raise unknown("attack", name, known)


def _needless(attack: type[Method], threat: ThreatModel) -> bool:
    """Whether an attack makes up for knowledge that the adversary has."""
    return attack.instead_of is not None and attack.instead_of in threat.knows


def choose_inferences(
    names: tuple[str, ...], threat: ThreatModel, signal: str = "image"
) -> tuple[list[str], list[str]]:
    """Those asked for, or where no attack or a group of them is named all that are permitted; and those denied."""
    known, chosen, denied = _serving(inferences(), signal), list[str](), list[str]()
    for name in known if _grouped(names) else [name for name in dict.fromkeys(names) if name in known]:
        try:
            require(known[name], threat)
        except KnowledgeError:
            if name in names:
                raise
            denied.append(name)
        else:
            chosen.append(name)
    return chosen, denied


def left_out(chosen: list[str], threat: ThreatModel, signal: str = "image", labels: bool = True) -> list[str]:
    """Attacks of the suite and inferences that are permitted and not chosen.

    Args:
        chosen: of both kinds.
        threat: of the adversary.
        signal: that the victim takes.
        labels: whether classes can be learned; some inferences are of no use without.
    """
    inferred = [name for name in choose_inferences((), threat, signal)[0] if useful(name, labels)]
    return [name for name in [*choose_attacks((), threat, signal)[0], *inferred] if name not in chosen]


def useful(inference: str, labels: bool) -> bool:
    """Whether an inference is of use where classes can be learned, or cannot."""
    return labels or not inferences()[inference].needs_labels
