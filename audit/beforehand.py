"""What an adversary brings along: models that were trained before she met this system, and whether they fit it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from atm.codec import Codec
from atm.data import Samples
from atm.errors import AtmError
from atm.signals import Signal, TextSignal
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
    path: str | None, victim: Victim, codecs: Mapping[int, tuple[Codec, str]], attacked: Samples
) -> Placer | None:
    """What places tokens and was asked for.

    Args:
        path: of its file.
        victim: whose tokens it is to place.
        codecs: with their digests, by the layer after which tokens are sent.
        attacked: signals of which it must have seen none.

    Raises:
        AtmError: the file holds none, or one for another victim or codec, or one that saw what is attacked.
    """
    if path is None:
        return None
    found, noun = Placer.read(Path(path)), victim.encoder.signal.noun
    if found.description.get("victim") not in (victim.digest, victim.body):
        raise AtmError(f"--placer {path} was trained for another victim than {victim.name!r}")
    trained_for = (found.description.get("layer"), found.description.get("codec"))
    if trained_for not in [(layer, digest) for layer, (_, digest) in codecs.items()]:
        raise AtmError(f"--placer {path} was trained for another codec, or for tokens after another layer")
    known = found.knows(attacked.hashes)
    if known:
        raise AtmError(
            f"--placer {path} learned from {known} of the {len(attacked)} attacked {noun}s; train it on others"
        )
    return found
