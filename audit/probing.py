"""A task head that is fitted to the data (``--head probe``)."""

from __future__ import annotations

from atm.data import Samples
from atm.data.kinds import source
from atm.errors import AtmError
from atm.victims import Victim, probe
from audit.attack_config import AttackConfig

PROBED = 2000  # pictures that such a head is fitted to, at most


def probed(victim: Victim, config: AttackConfig, attacked: Samples) -> tuple[Victim, frozenset[str]]:
    """The victim with a head fitted to training pictures of the data, of which none is attacked; and their hashes."""
    signal = victim.encoder.signal
    train = source(signal).load(
        signal,
        config.data,
        "train",
        limit=PROBED,
        seed=config.seed,
        distinct=True,
        seen=attacked.hashes,
        label_by=config.label_by,
    )
    if train.classes != attacked.classes:
        raise AtmError(f"{config.data} has other classes to train on than to attack; give --head FILE")
    return probe.probed(victim, train, seed=config.seed), frozenset(train.hashes)
