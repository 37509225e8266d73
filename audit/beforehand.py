"""What an adversary brings along: models that were trained before she met this system, and whether they fit it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from atm.codec import Codec
from atm.data import Samples
from atm.errors import AtmError
from atm.signals import Signal, TextSignal
from atm.threat import ThreatModel
from atm.victims import Victim
from attacks.language import LanguageModel
from attacks.placer import Placer


def prior(folder: str | None, signal: Signal) -> LanguageModel | None:
    """The language model that was asked for.

    Raises:
        AtmError: the folder holds none, or the victim takes no sentences.
    """
    if folder is None:
        return None
    if not isinstance(signal, TextSignal):
        raise AtmError(f"--prior is a language model, and this victim takes {signal.noun}s")
    return LanguageModel.read(folder)


def placer(
    path: str | None,
    threat: ThreatModel,
    victim: Victim,
    codecs: Mapping[int, tuple[Codec, str]],
    attacked: Samples,
    group_by: str | None = None,
) -> Placer | None:
    """What places tokens and was asked for.

    Args:
        path: of its file.
        threat: who has it.
        victim: whose tokens it is to place.
        codecs: with their digests, by the layer after which tokens are sent.
        attacked: signals of which it must have seen none.
        group_by: what signals have in common of which it must have seen none either, see `atm.data.groups`.

    Raises:
        AtmError: the file holds none, or one for another victim or codec, one that saw what is attacked or signals of
            its groups, or one that saw more than the adversary may, or what she is said not to have.
    """
    if path is None:
        return None
    found, noun = Placer.read(Path(path)), victim.encoder.signal.noun
    check_fit(found, f"--placer {path}", victim, {layer: digest for layer, (_, digest) in codecs.items()})
    known = found.knows(attacked.hashes)
    if known:
        raise AtmError(
            f"--placer {path} learned from {known} of the {len(attacked)} attacked {noun}s; train it on others"
        )
    if group_by is not None and found.description.get("group_by") != group_by:
        raise AtmError(
            f"--placer {path} may have learned from {noun}s of attacked groups; train it with --group-by "
            f"{shlex.quote(group_by)} too"
        )
    if group_by is not None and (groups := found.knows_groups(attacked.groups)):
        raise AtmError(f"--placer {path} learned from {groups} of the attacked groups; train it on others")
    if threat.shifted and found.description["data"]["name"] == attacked.name:
        raise AtmError(
            f"--placer {path} learned from {attacked.name}, which is attacked, and threat model {threat.name!r} has "
            f"{noun}s of another distribution alone; train it on what --auxiliary-data names"
        )
    if threat.auxiliary is not None and len(found.learned) > threat.auxiliary:
        raise AtmError(
            f"--placer {path} learned from {len(found.learned):,} {noun}s, and threat model {threat.name!r} has "
            f"{threat.auxiliary} at most"
        )
    return found


def notes(placer: Placer | None, attacked: Samples, noun: str) -> list[str]:
    """What there is to say of a placer and what is attacked."""
    if placer is None or placer.apart_from == attacked.name:
        return []
    return [f"the placer was not kept apart from near-duplicates of the attacked {noun}s: train it with --test-data"]


def check_fit(placer: Placer, named: str, victim: Victim, codecs: Mapping[int, str]) -> None:
    """Raise `AtmError` unless a placer was trained for a victim, and for one of its codecs, by layer and digest."""
    if placer.description.get("victim") not in (victim.digest, victim.body):
        raise AtmError(f"{named} was trained for another victim than {victim.name!r}")
    if (placer.description.get("layer"), placer.description.get("codec")) not in list(codecs.items()):
        raise AtmError(f"{named} was trained for another codec, or for tokens after another layer")
