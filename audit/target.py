"""The part of a system that no pictures are needed for: a victim, its policies and its codecs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import atm.device
import atm.policy
from atm import codecs
from atm.codec import Codec
from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.victims import Victim, load_victim
from atm.victims.transcripts import transcribing
from audit.system import OnAir

PROBE, DECODER = "probe", "decoder"  # heads: fitted to the data, and the model's own, which writes down what is said


@dataclass(frozen=True)
class Target:
    """A victim on its device, its policies, and for each layer after which one sends the codec with its digest."""

    victim: Victim
    policies: list[MergePolicy]
    codecs: Mapping[int, tuple[Codec, str]]


def target(config: OnAir, names: tuple[str, ...]) -> Target:
    """All that such a part names, loaded and checked; a head that is to be fitted to some is left out.

    Args:
        config: of the system.
        names: of policies.

    Raises:
        AtmError: anything is unknown, unreadable or does not fit the rest.
    """
    device = atm.device.resolve(config.device)
    victim = load_victim(
        config.victim,
        config.weights,
        image_size=config.image_size,
        mean=config.mean or None,
        std=config.std or None,
        classes=config.classes,
        head=None if config.head in (PROBE, DECODER) else config.head,
    )
    victim.encoder.to(device)
    policies = _policies(names, victim)
    exits = dict.fromkeys(policy.device_layers for policy in policies)
    loaded = {layer: codecs.load_codec(config.codec, victim, layer) for layer in exits}
    if config.head == DECODER:  # after the codecs, since the tokens stay the same
        victim = transcribing(victim)
    return Target(victim, policies, loaded)


def _policies(names: tuple[str, ...], victim: Victim) -> list[MergePolicy]:
    policies = [atm.policy.load(name, victim.encoder.depth) for name in names]
    seen = set()
    for policy in policies:
        if policy.maps is not None and policy.maps.description.get("victim") not in (victim.digest, victim.body):
            raise AtmError(f"policy {policy.name!r} was learned for another victim than {victim.name!r}")
        if policy.name in seen:
            raise AtmError(f"two policies are named {policy.name!r}; give each its own name")
        if "/" in policy.name or policy.name in ("", ".", "..", "original"):
            raise AtmError(f"policy name {policy.name!r} cannot name a folder; choose another name")
        seen.add(policy.name)
    return policies
