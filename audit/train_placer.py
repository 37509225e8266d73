"""``atm train placer``: what tells where tokens belong, learned once for a victim from many signals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic.dataclasses import dataclass as configuration

import atm.threat
from atm import channels
from atm.data import Samples
from atm.data.asked import Choice
from atm.data.kinds import source
from atm.errors import AtmError
from atm.knowledge import Knowledge
from atm.link import Link
from atm.seeds import seed_of
from atm.signals import Signal
from atm.text import counted, told_of
from attacks.alignment import Alignment
from attacks.base import ALIGNABLE, held_out
from attacks.placer import Placer, of_groups, short
from attacks.session import Campaign, Session
from audit import harm
from audit.beforehand import check_fit
from audit.command_lines import command_line, without_folders
from audit.system import STRICT, OnAir
from audit.target import target
from audit.train import write_card

FEWEST = 40  # signals, of which a tenth is held out


@configuration(frozen=True, kw_only=True, config=STRICT)
class PlacerConfig(OnAir):
    """What ``atm train placer`` is asked for.

    Attributes:
        threat: whose tokens are placed: an adversary who runs the device and is not told the merge map.
        policy: a preset name or a policy file.
        images: signals of the training split of ``data`` that it learns from, at most.
        test_data: signals that are attacked later; near-duplicates of them are left out. None takes the test split.
        steps: of training, at most; it ends sooner where held-out signals are placed no better.
        budget: seconds for them; None sets no limit.
        width: of the transformer.
        layers: of the transformer.
        start: a file of this command to go on from, for the same tokens; width and layers are then its own.
    """

    COMMAND: ClassVar[str] = "atm train placer"

    threat: str = "server-shuffled"
    policy: str = "none"
    images: int = 20000
    test_data: str | None = None
    steps: int = 8000
    budget: float | None = None
    width: int = 96
    layers: int = 2
    start: str | None = None

    def command(self) -> str:
        """The command line that asks for the same, without the folders of this machine."""
        return command_line(self.COMMAND, self, without_folders)


def placer(config: PlacerConfig, path: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train a placer and write it with its card; what the card says.

    Args:
        config: of whose tokens, and from what.
        path: safetensors file to write.
        say: called with a line about what is left out.

    Raises:
        AtmError: anything in the configuration is unknown or unreadable, too few signals, or an adversary who cannot
            learn where tokens belong or need not.
    """
    if config.steps < 1 or config.width < 4 or config.width % 4 or config.layers < 1:
        raise AtmError(
            f"--steps {config.steps}, --width {config.width} and --layers {config.layers}: give 1 step and layer or "
            "more, and a width that four heads can share"
        )
    if config.budget is not None and not config.budget > 0:
        raise AtmError(f"--budget {config.budget} must be a number of seconds above 0")
    channel, threat = channels.parse(config.channel), atm.threat.load(config.threat)
    before = None if config.start is None else Placer.read(Path(config.start))
    found = target(config, (config.policy,))
    victim, (policy,) = found.victim, found.policies
    codec, codec_digest = found.codecs[policy.device_layers]
    if before is not None:
        check_fit(before, f"--start {config.start}", victim, {policy.device_layers: codec_digest})
        if before.description.get("threat") != threat.name:
            raise AtmError(f"--start {config.start} was trained for {before.description.get('threat')}: give --threat")
        if before.description.get("group_by") != config.group_by:
            raise AtmError(f"--start {config.start} was trained with another --group-by or none; give the same")
    own, left_out = _signals(config, victim.encoder.signal, say)
    link = Link(victim.encoder, policy, codec, channel)
    campaign = Campaign(config.seed, seed_of("placer", config.seed, own.digest), placer=before)
    session = Session(link, threat, own.rows, campaign=campaign)
    session.threat.require(ALIGNABLE[1], Alignment.name)
    if Knowledge.MERGE_MAP in session.threat.knows:
        raise AtmError(f"--threat {config.threat} knows where tokens belong; give one who does not: server-shuffled")
    say(f"sending {counted(len(own), victim.encoder.signal.noun)} through a device of her own")
    session.oracle().observe(torch.arange(1))  # all are sent now, which is no part of the training's time
    budget = session.budget() if config.budget is None else session.budget(config.budget)
    schedule = replace(Alignment().schedule, steps=config.steps)
    sizes = {"width": config.width, "layers": config.layers}
    learned = session.fitted(Alignment, budget, **sizes, schedule=schedule, again=before is not None)
    placed = _placed(session, learned)
    known, groups = short(own.hashes), of_groups(own.groups)
    if before is not None:
        if before.apart_from != left_out["resembling"]:
            left_out["resembling"] = None  # of what both were kept apart from
        known, groups = (torch.cat(both).unique(dim=0) for both in ((known, before.learned), (groups, before.groups)))
    description = {
        "victim": victim.digest,
        "codec": codec_digest,
        "layer": policy.device_layers,
        "policy": policy.name,
        "channel": str(channel),
        "threat": threat.name,
        "data": {"name": own.name, "signals": len(own), "digest": own.digest},
        "group_by": config.group_by,
        "left_out": left_out,
        "width": learned.network.blocks[0].norm_self.normalized_shape[0],
        "layers": len(learned.network.blocks),
        "steps": len(learned.history.train),
        "cut": learned.history.cut,
        "start": None if before is None else before.digest,
        **{name: round(float(each.mean()), 4) for name, each in placed.items()},
    }
    Placer(learned.discriminant, learned.network, description, known, groups).write(path)
    write_card(path, {"kind": "placer", **description}, config.command(), own)
    return description


def _signals(config: PlacerConfig, signal: Signal, say: Callable[[str], None]) -> tuple[Samples, dict[str, Any]]:
    """Those to learn from, without near-duplicates of those that may be attacked, and which and how many these were."""
    read, by = source(signal), Choice(label_by=config.label_by, group_by=config.group_by)
    choice: Choice = {**by, "limit": config.images, "seed": config.seed, "distinct": True}
    own = read.load(signal, config.data, "train", **choice)
    attacked = read.load(signal, config.test_data or config.data, "test", **by)
    shared, alike, resembling = set(own.hashes) & set(attacked.hashes), 0, None
    if config.test_data is None and len(shared) == len(own):
        shared = set()
        say(
            f"{config.data} has no test split: attack {signal.noun}s that are not among these, or give those that "
            "will be attacked with --test-data"
        )
    else:
        resembling = attacked.name
        if config.group_by is not None:
            others: Choice = {**choice, "strange": attacked.groups}
            own = read.load(signal, config.data, "train", **others)
        shared &= set(own.hashes)
        own = own.distinct(list(shared))
        own, alike = read.apart(signal, own, attacked) if len(own) else (own, 0)
        if shared or alike:
            say(told_of(len(shared) + alike, f"{signal.noun}s are left out: some that may be attacked resemble them"))
    if len(own) < FEWEST:
        few = told_of(len(own), f"{signal.noun}s are too few to learn from")
        raise AtmError(f"{few}; give {FEWEST} or more with --data")
    return own, {"resembling": resembling, "signals": len(shared) + alike}


def _placed(session: Session, learned: Alignment) -> dict[str, Any]:
    """`audit.harm.placed` of held-out signals."""
    oracle = session.oracle()
    rows = held_out(len(oracle.images))[1]
    recovered = learned.complete(oracle.observe(rows).without_map()).tokens.source
    truth = oracle.rehearse(rows).tokens.source
    assert recovered is not None and truth is not None
    return harm.placed(recovered.cpu(), truth.cpu())
