"""The system that a live link runs: one description, read alike by device, server and listener."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic.dataclasses import dataclass as configuration

import defenses
from atm import channels
from atm.errors import AtmError
from atm.header import Header
from atm.link import Link
from atm.signals import ImageSignal
from atm.text import printable
from atm.victims import Victim
from atm.wire import HEADER_BITS_PER_SYMBOL
from audit.live.protocol import ENVELOPE, SYMBOL
from audit.setting import PROBE, AttackConfig, defended, samples, target
from audit.system import STRICT, OnAir

LARGEST_BUCKET = 4096  # tokens, of `defenses.pad`
SIDE_AND_CHANNEL = 2  # at most as many SNRs of 4 bytes as symbols come beside them, and room for a header


@configuration(frozen=True, kw_only=True, config=STRICT)
class LiveConfig(OnAir):
    """What both ends of a live link are asked for.

    Attributes:
        policy: preset name or policy file.
        defense: see `defenses.create`; None sends the tokens as they are.
    """

    COMMAND: ClassVar[str] = "a live link"

    policy: str = "moderate"
    defense: str | None = None

    def attacked_by(self, attack: str) -> AttackConfig:
        """The same system under one attack."""
        return AttackConfig.of(self, policies=(self.policy,), attacks=(attack,), defense=self.defense)


@dataclass(frozen=True)
class Live:
    """A system that can be run as processes.

    Attributes:
        link: all of it; what a process does not need is there and idle.
        classes: of the answers, by their numbers; empty where they have no names.
        agreement: what both ends must have alike, in words and digests.
    """

    link: Link
    classes: tuple[str, ...]
    agreement: dict[str, str]

    @property
    def header(self) -> Header:
        """How headers are written and read."""
        return header_of(self.link)

    @property
    def most_tokens(self) -> int:
        """Of any frame."""
        header = self.header
        pads = self.link.defence is not None and self.link.defence.pads
        return max(header.prefix + header.patches, LARGEST_BUCKET * pads)

    @property
    def most_bytes(self) -> int:
        """Of any message."""
        each = self.link.codec.symbols_per_token * SYMBOL
        return ENVELOPE + self.header.most_bytes + SIDE_AND_CHANNEL * self.most_tokens * each

    def name(self, answer: int) -> str:
        """Of an answer."""
        return self.classes[answer] if answer < len(self.classes) else f"class {answer}"


def header_of(link: Link) -> Header:
    """How the headers of a link are written and read."""
    rows, columns = link.encoder.patch_grid
    return Header(link.wire, int(link.encoder.vit.num_prefix_tokens), rows * columns, int(link.codec.sends_side))


def frame_symbols(tokens: int, per_token: int, bits: int) -> int:
    """Channel uses of a frame, as reports count them, from what is on the wire."""
    return tokens * per_token + math.ceil(bits / HEADER_BITS_PER_SYMBOL)


def need_pictures(victim: Victim) -> None:
    """Raise `AtmError` unless a victim takes pictures, which is all that a live link sends and shows."""
    if not isinstance(victim.encoder.signal, ImageSignal):
        raise AtmError(f"a live link sends pictures, and victim {victim.name!r} takes {victim.encoder.signal.noun}s")


def resolve(config: LiveConfig, sends: bool) -> Live:
    """All that a description names, loaded and checked.

    Args:
        config: of the system.
        sends: whether it is to run the device's part; only that needs a defence that is fitted, and pictures for it.

    Raises:
        AtmError: anything is unknown, unreadable or does not fit the rest.
    """
    if config.head == PROBE:
        raise AtmError("--head probe is fitted anew by every command; fit one with 'atm train head' and give its file")
    channel = channels.parse(config.channel)
    defence = None if config.defense in (None, "none") else defenses.create(str(config.defense))
    found = target(config, (config.policy,))
    (policy,), victim = found.policies, found.victim
    need_pictures(victim)
    codec, digest = found.codecs[policy.device_layers]
    link = Link(victim.encoder, policy, codec, channel)
    if defence is not None:
        fits = samples(config, victim.encoder.signal) if sends else None
        link = link.with_defence(defence) if fits is None else defended(link, config.defense, fits, config.seed)
    victim.need_logits("a live link")
    agreement = {
        "victim": victim.digest,
        "policy": hashlib.sha256(json.dumps(replace(policy, name="").as_dict()).encode()).hexdigest(),
        "codec": f"{codec.name} {codec.symbols_per_token} {digest}".strip(),
        "defence": config.defense or "none",
        "wire": " ".join(field.name for field in link.wire.fields),
    }
    return Live(link, victim.classes, agreement)


def disagreement(mine: dict[str, str], theirs: dict[str, str]) -> str:
    """In words, what is not alike; empty where all is."""
    for name, value in mine.items():
        if theirs.get(name) != value:
            return f"its {name} is {_short(value)}, the device's is {_short(theirs.get(name, 'missing'))}"
    return ""


def _short(value: str) -> str:
    return printable(" ".join(word[:12] for word in value.split()))[:60]
