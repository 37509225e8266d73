"""Attacks on policies: the loop from pictures to scores."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from atm.data import Splits
from atm.errors import AtmError
from atm.link import Link, Transmission
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from attacks import Attack, available, create, effort, inferences
from attacks.base import History, Locating, Studious
from attacks.budget import time_budget
from attacks.shared import fitted, forget
from audit import harm
from audit.bounds import bounds
from audit.canary import canary
from audit.folder import RunFolder
from audit.notes import heading, notes
from audit.remember import RememberingLink
from audit.setting import AttackConfig, Setting, prepare, seed_of
from privacy_metrics import score
from reports.bounds import add_bounds
from reports.html import write_report
from reports.run import Run

FITTING = 0.95  # of an attack's time, at most; the rest is for reconstructing


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
    for line in setting.about["data"]["notes"]:
        say(f"pictures: {line}")
    with effort(config.quick):
        evaluate(setting, folder, config, say)
    for policy in setting.policies:
        say(f"bounds of {policy.name}")
        link = setting.link.with_policy(policy)
        victims, auxiliary = setting.data.victims.images, setting.data.auxiliary.images
        rows = bounds(link, setting.threat, victims, auxiliary, seed_of(config.seed, "bounds"))
        add_bounds(folder.path, policy.name, rows)
    write_report(folder.path)
    return Run.read(folder.path)


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
        victims_seed, taps_seed = seed_of(config.seed, "victims", *again), seed_of(config.seed, "tap", *again)
        transmission = system.transmit(originals, victims_seed)
        # Attacks get a link of their own, so that what it remembers never holds a victim's picture.
        link = RememberingLink.around(system, seed_of(config.seed, *again) if again else 0)
        link.seed = seed_of(config.seed, policy.name, *again)  # of what attacks fit for each other
        folder.add_link(policy.name, _link_rows(policy, transmission, setting.truth), repeat)
        seen = setting.threat.observe(transmission, link, taps_seed)
        ends = time.monotonic() + (config.budget or math.inf)
        shares = [_share(name, setting.threat) for name in setting.attacks]
        for number, name in enumerate(setting.attacks):
            done += 1
            if folder.finished(policy.name, name, repeat):
                continue
            say(f"[{done}/{total}] {name} on {policy.name}" + (f", repeat {repeat}" if repeat else ""))
            torch.manual_seed(seed_of(config.seed, policy.name, name, *again))
            attack = (setting.create or create)(name)
            begun = time.monotonic()
            share = max(ends - begun, 0.0) * shares[number] / sum(shares[number:])
            with time_budget(share * FITTING):
                attack = _fitted(attack, link, setting, auxiliary)
            ready = time.monotonic()
            with time_budget(share + begun - ready):
                rebuilt = attack.reconstruct(seen)
            folder.add_seconds(policy.name, name, ready - begun, time.monotonic() - ready, repeat)
            _check(name, rebuilt, originals)
            scores, _ = score(rebuilt, originals, setting.metrics)
            if isinstance(attack, Locating):
                truth = setting.threat.true_map(transmission, link, taps_seed)
                scores = {**scores, **harm.placed(attack.recover(seen), truth)}
            if isinstance(history := getattr(attack, "history", None), History):
                folder.add_history(policy.name, name, repeat, history.as_dict())
            folder.add_scores(policy.name, name, scores, rebuilt, repeat)
        for name in setting.inferences:
            if folder.finished(policy.name, name, repeat):
                continue
            say(f"{name} on {policy.name}" + (f", repeat {repeat}" if repeat else ""))
            torch.manual_seed(seed_of(config.seed, policy.name, name, *again))
            scores = harm.run(inferences()[name](), link, setting.threat, setting.data, auxiliary, seen)
            folder.add_scores(policy.name, name, scores, None, repeat)
        forget(link)


def _fitted(attack: Attack, link: Link, setting: Setting, images: Tensor) -> Attack:
    """The attack, fitted: if it is one by that name and has no secrets, the same that others find and start from."""
    if isinstance(attack, Studious):
        if setting.unsent is not None:
            attack.study(setting.unsent)
    elif type(attack) is available().get(attack.name):
        return fitted(type(attack), link, setting.threat, images)
    attack.fit(link, setting.threat, images)
    return attack


def _share(name: str, threat: ThreatModel) -> float:
    share = getattr(available().get(name), "share", None)
    return 1.0 if share is None else float(share(threat))


def _link_rows(policy: MergePolicy, transmission: Transmission, truth: Tensor | None) -> pd.DataFrame:
    answers = transmission.logits.argmax(-1)
    return pd.DataFrame(
        {
            "policy": policy.name,
            "image": range(len(answers)),
            "label": None if truth is None else truth.tolist(),
            "answer": None if truth is None else answers.tolist(),
            "correct": None if truth is None else (answers == truth).int().tolist(),
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
