"""The system that a live link runs: one description, read alike by device, server and listener."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from pydantic.dataclasses import dataclass as configuration

import defenses
from atm import channels
from atm.errors import AtmError
from atm.header import Header
from atm.link import Link
from atm.policy import MergePolicy
from atm.signals import ImageSignal
from atm.text import printable
from atm.victims import Victim
from atm.wire import HEADER_BITS_PER_SYMBOL
from audit.adversary import samples
from audit.attack_config import AttackConfig
from audit.live.protocol import ENVELOPE, SYMBOL
from audit.setting import defended
from audit.system import STRICT, Names, OnAir
from audit.target import DECODER, PROBE, target

MOST_POLICIES = 16
TAG = 16  # hexadecimal digits of a policy's digest
LARGEST_BUCKET = 4096  # tokens, of `defenses.pad`
SIDE_AND_CHANNEL = 2  # at most as many SNRs of 4 bytes as symbols come beside them, and room for a header


@configuration(frozen=True, kw_only=True, config=STRICT)
class LiveConfig(OnAir):
    """What both ends of a live link are asked for.

    Attributes:
        policies: preset names or policy files; a device may change from one to another between frames.
        defense: see `defenses.create`; None sends the tokens as they are.
    """

    COMMAND: ClassVar[str] = "a live link"

    policies: Names = ("moderate",)
    defense: str | None = None

    def attacked_by(self, attack: str) -> AttackConfig:
        """The same system under one attack."""
        return AttackConfig.of(self, policies=self.policies, attacks=(attack,), defense=self.defense)


@dataclass(frozen=True)
class Mode:
    """A policy that frames may be made under.

    Attributes:
        link: all of the system; what a process does not need is there and idle.
        agreement: what both ends must have alike of it: the policy's digest, codec and fields on the wire.
    """

    link: Link
    agreement: dict[str, str]

    @property
    def name(self) -> str:
        """Of the policy, at this end."""
        return self.link.policy.name

    @property
    def tag(self) -> str:
        """What a frame says of its policy."""
        return self.agreement["policy"][:TAG]

    @cached_property
    def header(self) -> Header:
        """How headers are written and read."""
        return header_of(self.link)

    @property
    def most_tokens(self) -> int:
        """Of any frame."""
        pads = self.link.defence is not None and self.link.defence.pads
        return max(self.header.prefix + self.header.patches, LARGEST_BUCKET * pads)

    @property
    def most_bytes(self) -> int:
        """Of any message."""
        each = self.link.codec.symbols_per_token * SYMBOL
        return ENVELOPE + self.header.most_bytes + SIDE_AND_CHANNEL * self.most_tokens * each


@dataclass(frozen=True)
class Live:
    """A system that can be run as processes.

    Attributes:
        modes: its policies; a device begins with the first.
        classes: of the answers, by their numbers; empty where they have no names.
        agreement: what both ends must have alike under every policy, in words and digests.
    """

    modes: tuple[Mode, ...]
    classes: tuple[str, ...]
    agreement: dict[str, str]

    @property
    def link(self) -> Link:
        """Under the first policy; victim, channel and kind of signal are those of all."""
        return self.modes[0].link

    @cached_property
    def by_tag(self) -> dict[str, Mode]:
        """The policies by what frames say."""
        return {mode.tag: mode for mode in self.modes}

    @property
    def most_bytes(self) -> int:
        """Of any message."""
        return len(self.modes) * ENVELOPE + max(mode.most_bytes for mode in self.modes)

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
    if config.head == DECODER:
        raise AtmError("--head decoder writes down what is said, and a live link sends pictures")
    channel = channels.parse(config.channel)
    defence = None if config.defense in (None, "none") else defenses.create(str(config.defense))
    if not 1 <= len(config.policies) <= MOST_POLICIES:
        raise AtmError(f"a live link has 1 to {MOST_POLICIES} policies, not {len(config.policies)}")
    found = target(config, config.policies)
    victim = found.victim
    need_pictures(victim)
    links: dict[int, Link] = {}  # by the layer after which they send
    for policy in found.policies:
        if policy.device_layers not in links:
            link = Link(victim.encoder, policy, found.codecs[policy.device_layers][0], channel)
            if defence is not None:
                fits = samples(config, victim.encoder.signal) if sends else None
                link = link.with_defence(defence) if fits is None else defended(link, config.defense, fits, config.seed)
            links[policy.device_layers] = link
    victim.need_logits("a live link")
    modes = [
        Mode(link, _agreement(link, found.codecs[policy.device_layers][1]))
        for policy in found.policies
        for link in [links[policy.device_layers].with_policy(policy)]
    ]
    live = Live(tuple(modes), victim.classes, {"victim": victim.digest, "defence": config.defense or "none"})
    if len(live.by_tag) < len(modes):
        raise AtmError("two of the policies merge alike; give each of them once")
    return live


def digest_of(policy: MergePolicy) -> str:
    """SHA-256 of what a policy does, whatever its name."""
    return hashlib.sha256(json.dumps(replace(policy, name="").as_dict()).encode()).hexdigest()


def _agreement(link: Link, digest: str) -> dict[str, str]:
    return {
        "policy": digest_of(link.policy),
        "codec": f"{link.codec.name} {link.codec.symbols_per_token} {digest}".strip(),
        "wire": " ".join(field.name for field in link.wire.fields),
    }


def refusal(live: Live, system: dict[str, str], policies: Sequence[dict[str, str]]) -> str:
    """In words, what a device has that is not alike; empty where all is."""
    if words := _disagreement(live.agreement, system):
        return words
    for theirs in policies:
        mine = live.by_tag.get(theirs.get("policy", "")[:TAG])
        if mine is None and len(live.modes) == len(policies) == 1:
            mine = live.modes[0]  # and what is not alike is named
        if mine is None:
            known = ", ".join(_short(mode.agreement["policy"]) for mode in live.modes)
            lacking = _short(theirs.get("policy", "missing"))
            return f"it has no policy {lacking}, but {known}; give both the same --policy"
        if words := _disagreement(mine.agreement, theirs):
            return words
    return ""


def _disagreement(mine: dict[str, str], theirs: dict[str, str]) -> str:
    for name, value in mine.items():
        if theirs.get(name) != value:
            return f"its {name} is {_short(value)}, the device's is {_short(theirs.get(name, 'missing'))}"
    return ""


def _short(value: str) -> str:
    return printable(" ".join(word[:12] for word in value.split()))[:60]
