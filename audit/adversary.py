"""Who the adversary is, and which pictures of her own she has and can send."""

from __future__ import annotations

from dataclasses import replace

import atm.threat
from atm.data import Splits
from atm.data.kinds import source
from atm.errors import AtmError
from atm.rows import Rows
from atm.signals import Signal
from atm.threat import ThreatModel
from audit.attack_config import AttackConfig
from audit.system import System


def adversary(config: AttackConfig) -> ThreatModel:
    """The threat model that was asked for; auxiliary data of its own make it one with shifted images."""
    threat, own = atm.threat.load(config.threat), config.auxiliary_data not in (None, config.data)
    if threat.shifted and not own:
        raise AtmError(
            f"threat model {threat.name!r} takes auxiliary images of another distribution: give --auxiliary-data"
        )
    return replace(threat, shifted=own)


def samples(config: System, signal: Signal, auxiliary: int | None = None) -> Splits:
    """What a system is attacked on, and the adversary's own, as a victim takes them.

    Args:
        config: of the system.
        signal: of the victim.
        auxiliary: the most of her own that the adversary has; None sets no other limit than the configuration.
    """
    return source(signal).splits(
        signal,
        config.data,
        victims=config.images,
        auxiliary=min(config.auxiliary, auxiliary or config.auxiliary),
        auxiliary_name=config.auxiliary_data,
        group_by=config.group_by,
        label_by=config.label_by,
        seed=config.seed,
    )


def within(queries: int | None, data: Splits) -> tuple[Splits, Rows | None]:
    """The auxiliary pictures that the adversary can send through the device, and the images of the others."""
    total = len(data.auxiliary) + len(data.validation)
    if queries is None or total <= queries:
        return data, None
    held = max(round(queries * len(data.validation) / total), 1)
    sent, rest = data.auxiliary.subset(range(queries - held)), range(queries - held, len(data.auxiliary))
    unsent = data.auxiliary.subset(rest).rows
    return replace(data, auxiliary=sent, validation=data.validation.subset(range(held))), unsent
