"""Attacks on policies: the loop from pictures to scores."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import atm.policy
import atm.threat
import defenses
from atm import channels, zoo
from atm.data import ImageSet, Splits, splits
from atm.errors import AtmError, KnowledgeError, unknown
from atm.link import Link, Transmission
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from attacks import FLOORS, Attack, available, create, effort, inferences
from attacks.base import History, require
from audit import harm
from audit.bounds import bounds
from audit.canary import canary
from audit.folder import RunFolder
from audit.notes import heading, notes
from audit.remember import RememberingLink
from privacy_metrics import score
from reports.bounds import add_bounds
from reports.html import write_report
from reports.run import Run

PACKAGES = ("atm-privacy", "torch", "timm", "torchmetrics", "lpips", "numpy", "scikit-image", "kornia")


@dataclass(frozen=True)
class AttackConfig:
    """What ``atm attack`` is asked for.

    Attributes:
        policies: preset names or policy files.
        attacks: names; empty means all that the threat model permits. The floors always run.
        victim: see `atm.zoo.load_victim`.
        weights: a file with a timm victim's weights.
        codec: see `atm.zoo.load_codec`.
        data: see `atm.data.load`; the attacked pictures.
        auxiliary_data: where the adversary's own pictures come from; None takes them from ``data``.
        channel: see `atm.channels.parse`.
        defense: see `defenses.create`; None sends the tokens as they are.
        threat: see `atm.threat.load`.
        images: pictures that are attacked.
        auxiliary: the adversary's own pictures, at most.
        seed: of everything that is random.
        repeats: how often each attack is fitted and each picture sent, every time with other seeds and channel draws.
        quick: attacks take few steps, for a first look; a report says so.
    """

    policies: tuple[str, ...] = ("none", "moderate", "aggressive")
    attacks: tuple[str, ...] = ()
    victim: str = "vit_photos"
    weights: str | None = None
    codec: str = "auto"
    data: str = "photos"
    auxiliary_data: str | None = None
    channel: str = "awgn:10"
    defense: str | None = None
    threat: str = "server"
    images: int = 100
    auxiliary: int = 4000
    seed: int = 0
    repeats: int = 1
    quick: bool = False

    def command(self, out: str) -> str:
        """The command line that asks for the same."""
        words = ["atm", "attack"]
        for key, value in asdict(self).items():
            if isinstance(value, bool):
                words += [f"--{key}"] * value
                continue
            values = value if isinstance(value, tuple) else (value,)
            flag = "--" + {"policies": "policy", "attacks": "attack"}.get(key, key.replace("_", "-"))
            words += [word for v in values if v is not None for word in (flag, str(v))]
        return shlex.join([*words, "--out", out])


@dataclass(frozen=True)
class Setting:
    """Everything that a configuration names, loaded and checked.

    ``create`` makes an attack by its name (None: `attacks.create`); ``metrics`` are the scores taken (None: all).
    """

    link: Link
    policies: list[MergePolicy]
    attacks: list[str]
    denied: list[str]
    threat: ThreatModel
    data: Splits
    truth: Tensor
    task: str
    about: dict[str, Any]
    create: Callable[[str], Attack] | None = None
    metrics: tuple[str, ...] | None = None
    inferences: tuple[str, ...] = ()
    victim: zoo.Victim | None = None


def attack(
    config: AttackConfig,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    """Attack policies, write the run folder ``out`` with its report, and give the finished run.

    Args:
        config: what to attack, and how.
        out: the run folder.
        resume: go on with the run that is there.
        force: replace the run that is there.
        say: called with a line for each step.

    Raises:
        AtmError: bad input, in one line; nothing is written then.
    """
    folder = RunFolder(out, asdict(config), resume=resume, force=force)
    setting = prepare(config)
    for line in setting.about["data"]["skipped"]:
        say(f"skipped {line}")
    with effort(config.quick):
        evaluate(setting, folder, config, say)
    for policy in setting.policies:
        say(f"bounds of {policy.name}")
        link = setting.link.with_policy(policy)
        victims, auxiliary = setting.data.victims.images, setting.data.auxiliary.images
        rows = bounds(link, setting.threat, victims, auxiliary, _seed(config.seed, "bounds"))
        add_bounds(folder.path, policy.name, rows)
    write_report(folder.path)
    return Run.read(folder.path)


def prepare(config: AttackConfig) -> Setting:
    """Load and check all that a configuration names, before anything is written.

    Raises:
        AtmError: anything in it is unknown, unreadable or does not fit the rest.
    """
    if config.images < 1 or config.auxiliary < 20:
        raise AtmError(
            f"--images {config.images} and --auxiliary {config.auxiliary} are too few; attack at least 1 picture with "
            "at least 20 auxiliary ones"
        )
    if config.repeats < 1:
        raise AtmError(f"--repeats {config.repeats} is too few; give 1 or more")
    if not config.policies:
        raise AtmError("no policy to attack; give --policy")
    defence = None if config.defense in (None, "none") else defenses.create(str(config.defense))
    threat, channel = atm.threat.load(config.threat).under(defence), channels.parse(config.channel)
    attacks, denied = _choose_attacks(config.attacks, threat)
    wanted = _choose_inferences(config.attacks, threat)
    victim = zoo.load_victim(config.victim, config.weights)
    codec, codec_digest = zoo.load_codec(config.codec, victim)
    policies = _policies(config.policies, victim.encoder.depth)
    data = splits(
        config.data,
        victims=config.images,
        auxiliary=config.auxiliary,
        size=victim.encoder.image_size,
        auxiliary_name=config.auxiliary_data,
        seed=config.seed,
    )
    if harm.labels(data) is None:
        wanted = [name for name in wanted if not getattr(inferences()[name], "needs_labels", False)]
    link = Link(victim.encoder, policies[0], codec, channel)
    if defence is not None:
        link = defenses.fitted(defence, link, data.auxiliary.images, _seed(config.seed, "defence"))
    truth, task = right_answers(victim, data.victims)
    about = {
        "kind": "attack",
        "config": asdict(config),
        "victim": {
            "name": victim.name,
            "digest": victim.digest,
            "layers": victim.encoder.depth,
            "width": victim.encoder.width,
            "patches": victim.encoder.patch_grid[0] * victim.encoder.patch_grid[1],
        },
        "codec": {
            "name": codec.name,
            "symbols_per_token": codec.symbols_per_token,
            "source_values": 3 * victim.encoder.image_size**2,
            "digest": codec_digest,
        },
        "channel": str(channel),
        "defence": None if defence is None else config.defense,
        "threat": threat.as_dict(),
        "threat_in_words": threat.describe(),
        "data": {
            "name": data.victims.name,
            "victims": len(data.victims),
            "auxiliary": len(data.auxiliary) + len(data.validation),
            "removed": data.removed,
            "victims_digest": data.victims.digest,
            "auxiliary_digest": data.auxiliary.digest,
            "skipped": sorted({*data.victims.skipped, *data.auxiliary.skipped, *data.validation.skipped}),
        },
        "policies": [policy.as_dict() for policy in policies],
        "attacks": attacks,
        "inferences": wanted,
        "chance": harm.chance(data.victims.labels),
        "denied": denied,
        "left_out": _left_out([*attacks, *wanted], threat),
        "task": task,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    return Setting(
        link,
        policies,
        attacks,
        denied,
        threat,
        data,
        truth,
        task,
        json.loads(json.dumps(about)),
        inferences=tuple(wanted),
        victim=victim,
    )


def evaluate(setting: Setting, folder: RunFolder, config: AttackConfig, say: Callable[[str], None]) -> None:
    """Run every attack on every policy that is not finished yet.

    Args:
        setting: from `prepare`.
        folder: where scores and pictures go.
        config: the same that was prepared.
        say: called with a line for each step.

    Raises:
        AtmError: the adversary holds a picture that is attacked, or an attack returns no pictures.
    """
    _refuse_overlap(setting.data)
    originals = setting.data.victims.images
    auxiliary = torch.cat([setting.data.auxiliary.images, setting.data.validation.images])
    taken, missing = score(originals[:1], originals[:1], setting.metrics)
    folder.describe(
        {
            **setting.about,
            "canary": folder.about.get("canary") or canary(setting.link, setting.data, config.seed),
            "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "command": config.command(str(folder.path)),
            "metrics": {name: heading(name) for name in taken},
            "notes": notes(originals, taken, missing),
        }
    )
    folder.save_images("original", originals)
    total, done = len(setting.policies) * len(setting.attacks) * config.repeats, 0
    for policy, repeat in product(setting.policies, range(config.repeats)):
        again = (repeat,) if repeat else ()  # the first repeat draws what a run without repeats draws
        system = setting.link.with_policy(policy)
        victims_seed, taps_seed = _seed(config.seed, "victims", *again), _seed(config.seed, "tap", *again)
        transmission = system.transmit(originals, victims_seed)
        # Attacks get a link of their own, so that what it remembers never holds a victim's picture.
        link = RememberingLink.around(system, _seed(config.seed, *again) if again else 0)
        folder.add_link(policy.name, _link_rows(policy, transmission, setting.truth), repeat)
        seen = setting.threat.observe(transmission, link, taps_seed)
        for name in setting.attacks:
            done += 1
            if folder.finished(policy.name, name, repeat):
                continue
            say(f"[{done}/{total}] {name} on {policy.name}" + (f", repeat {repeat}" if repeat else ""))
            torch.manual_seed(_seed(config.seed, policy.name, name, *again))
            attack = (setting.create or create)(name)
            attack.fit(link, setting.threat, auxiliary)
            rebuilt = attack.reconstruct(seen)
            _check(name, rebuilt, originals)
            scores, _ = score(rebuilt, originals, setting.metrics)
            if isinstance(history := getattr(attack, "history", None), History):
                folder.add_history(policy.name, name, repeat, history.as_dict())
            folder.add_scores(policy.name, name, scores, rebuilt, repeat)
        for name in setting.inferences:
            if folder.finished(policy.name, name, repeat):
                continue
            say(f"{name} on {policy.name}" + (f", repeat {repeat}" if repeat else ""))
            torch.manual_seed(_seed(config.seed, policy.name, name, *again))
            scores = harm.run(inferences()[name](), link, setting.threat, setting.data, auxiliary, seen)
            folder.add_scores(policy.name, name, scores, None, repeat)


def _choose_attacks(names: tuple[str, ...], threat: ThreatModel) -> tuple[list[str], list[str]]:
    known, others = available(), inferences()
    for name in names:
        if name not in known and name not in others:
            raise unknown("attack", name, known | others)
    asked = [name for name in names if name in known]
    for name in asked:
        require(known[name], threat)
    chosen, denied = [], []
    for name in dict.fromkeys([*FLOORS, *(asked if names else known)]):
        try:
            require(known[name], threat)
        except KnowledgeError:
            denied.append(name)
        else:
            chosen.append(name)
    return chosen, denied


def _choose_inferences(names: tuple[str, ...], threat: ThreatModel) -> list[str]:
    """Those asked for; where no attack is named, all that the threat model permits."""
    known, chosen = inferences(), []
    for name in known if not names else [name for name in dict.fromkeys(names) if name in known]:
        try:
            require(known[name], threat)
        except KnowledgeError:
            if names:
                raise
        else:
            chosen.append(name)
    return chosen


def _left_out(chosen: list[str], threat: ThreatModel) -> list[str]:
    """Attacks that rebuild pictures, permitted and not chosen."""
    return [name for name in _choose_attacks((), threat)[0] if name not in chosen]


def _policies(names: tuple[str, ...], depth: int) -> list[MergePolicy]:
    policies = [atm.policy.load(name, depth) for name in names]
    seen = set()
    for policy in policies:
        if policy.name in seen:
            raise AtmError(f"two policies are named {policy.name!r}; give each its own name")
        if "/" in policy.name or policy.name in ("", ".", "..", "original"):
            raise AtmError(f"policy name {policy.name!r} cannot name a folder; choose another name")
        seen.add(policy.name)
    return policies


def right_answers(victim: zoo.Victim, images: ImageSet) -> tuple[Tensor, str]:
    """Labels to be right about: the data's, or where its classes are not the victim's, the victim's own answers."""
    if set(images.classes) == set(victim.classes):
        order = torch.tensor([victim.classes.index(name) for name in images.classes])
        return order[images.labels], "accuracy"
    dense = MergePolicy.uniform(1.0, victim.encoder.depth)
    return Link(victim.encoder, dense).transmit(images.images).logits.argmax(-1), "agreement with the unmerged victim"


def _link_rows(policy: MergePolicy, transmission: Transmission, truth: Tensor) -> pd.DataFrame:
    answers = transmission.logits.argmax(-1)
    return pd.DataFrame(
        {
            "policy": policy.name,
            "image": range(len(truth)),
            "label": truth.tolist(),
            "answer": answers.tolist(),
            "correct": (answers == truth).int().tolist(),
            "gflops": (transmission.flops / 1e9).tolist(),
            "tokens": transmission.sent.counts,
            "symbols": transmission.symbols.tolist(),
        }
    )


def _refuse_overlap(data: Splits) -> None:
    """An attack that was trained on the pictures it is scored on shows memory, not leakage."""
    shared = set(data.victims.hashes) & {*data.auxiliary.hashes, *data.validation.hashes}
    if shared:
        raise AtmError(
            f"{len(shared)} of the {len(data.victims)} attacked pictures are among the adversary's own; "
            "attack pictures that she does not have"
        )


def _check(name: str, rebuilt: Tensor, originals: Tensor) -> None:
    if rebuilt.shape != originals.shape:
        raise AtmError(f"attack {name!r} returned images {list(rebuilt.shape)}, expected {list(originals.shape)}")
    if not bool(rebuilt.isfinite().all()) or float(rebuilt.min()) < 0 or float(rebuilt.max()) > 1:
        raise AtmError(f"attack {name!r} returned pixels that are NaN or outside [0, 1]")


def _seed(*parts: object) -> int:
    """A seed that depends on every part and on nothing else, so that a resumed run draws what it would have drawn."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")
