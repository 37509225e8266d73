"""Attacks on policies: the loop from pictures to scores."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from atm.data import Splits
from atm.errors import AtmError, one_line
from atm.link import Transmission
from atm.policy import MergePolicy
from atm.seeds import seed_of
from atm.store import StoredRun
from atm.threat import ThreatModel
from attacks import Attack, available, inferences
from attacks.budget import Budget, Plan
from attacks.session import Campaign, Session
from audit import harm
from audit.bounds import SOURCES, bounds
from audit.canary import canary
from audit.folder import RunFolder
from audit.notes import heading, notes
from audit.setting import AttackConfig, Setting, prepare
from privacy_metrics import score
from reports.bounds import add_bounds
from reports.html import write_report
from reports.run import Run

STEPS = "steps.jsonl"  # of the run folder: how many steps every loop took


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
    with RunFolder(out, config.as_dict(), resume=resume, force=force) as folder:
        return _attack(config, folder, say)


def _attack(config: AttackConfig, folder: RunFolder, say: Callable[[str], None]) -> Run:
    setting = prepare(config)
    for line in setting.about["data"]["skipped"]:
        say(f"skipped {line}")
    for line in setting.about["data"]["notes"]:
        say(f"pictures: {line}")
    evaluate(setting, folder, config, say)
    for policy in setting.policies:
        say(f"checking provable bounds of {policy.name}")
        link = setting.link(policy)
        hers = setting.data.auxiliary.rows[:SOURCES]
        rows = bounds(link, setting.threat, setting.data.victims.images, hers, seed_of(config.seed, "bounds"))
        add_bounds(folder, policy.name, rows)
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
    replayed = {} if config.replay is None else _steps(StoredRun(config.replay, "attack"))
    taken, missing = score(originals[:1], originals[:1], setting.metrics)
    folder.describe(
        {
            **setting.about,
            "canary": folder.about.get("canary") or canary(setting.encoder, setting.data, config.seed),
            "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "command": config.command(str(folder.path)),
            "metrics": {name: heading(name) for name in taken},
            "notes": notes(originals, taken, missing),
        }
    )
    folder.save_images("original", originals)
    plan = _plan(folder, replayed)
    campaigns = [_campaign(setting, config, plan, repeat) for repeat in range(config.repeats)]
    total, done = len(setting.policies) * len(setting.attacks) * config.repeats, 0
    for policy, repeat in product(setting.policies, range(config.repeats)):
        session = Session(
            setting.link(policy),
            setting.threat,
            setting.data.hers,
            labels=harm.labels(setting.data),
            unsent=setting.unsent,
            encoded=setting.encodings(policy),
            campaign=campaigns[repeat],
        )
        transmission, seen, true_map = session.victims(originals)
        folder.add_link(policy.name, _link_rows(policy, transmission, setting.truth), repeat)
        ends = time.monotonic() + (config.budget or math.inf)
        shares = [_share(name, session.threat) for name in setting.attacks]
        again = f", repeat {repeat}" if repeat else ""
        for number, name in enumerate(setting.attacks):
            done += 1
            if folder.finished(policy.name, name, repeat):
                continue
            say(f"[{done}/{total}] {name} on {policy.name}{again}")
            begun = time.monotonic()
            seconds = max(ends - begun, 0.0) * shares[number] / sum(shares[number:])
            with _named(name, policy):
                attack = _fitted(setting, session, name, session.budget(seconds, name))
                ready = time.monotonic()
                rebuilt = attack.reconstruct(seen).cpu()
            folder.add_seconds(policy.name, name, ready - begun, time.monotonic() - ready, repeat)
            _check(name, rebuilt, originals)
            scores, _ = score(rebuilt, originals, setting.metrics)
            if (found := attack.recover(seen)) is not None:
                scores = {**scores, **harm.placed(found.cpu(), true_map.cpu())}
            if attack.history is not None:
                folder.add_history(policy.name, name, repeat, attack.history.as_dict())
            folder.add_scores(policy.name, name, scores, rebuilt, repeat)
        for name in setting.inferences:
            if folder.finished(policy.name, name, repeat):
                continue
            say(f"{name} on {policy.name}{again}")
            torch.manual_seed(session.seeded(name))
            with _named(name, policy):
                scores = harm.run(inferences()[name](), session.oracle(), setting.data.victims, seen)
            folder.add_scores(policy.name, name, scores, None, repeat)


@contextmanager
def _named(attack: str, policy: MergePolicy) -> Iterator[None]:
    """An attack is one file that anybody may write: where it fails in any way, the error says which, in one line."""
    try:
        yield
    except AtmError:
        raise
    except Exception as error:
        raise AtmError(f"attack {attack!r} failed on policy {policy.name!r}: {one_line(error)}") from error


def _steps(run: StoredRun) -> dict[str, int]:
    """How many steps each loop took."""
    found = {}
    for number, record in enumerate(run.records(STEPS), 1):
        loop, steps = record.get("loop"), record.get("steps")
        if not isinstance(loop, str) or not isinstance(steps, int) or steps < 0:
            raise AtmError(f"{run.path / STEPS}, line {number} does not say how many steps a loop took")
        found[loop] = steps
    return found


def _plan(folder: RunFolder, replayed: Mapping[str, int]) -> Plan:
    """Steps that this run, or the one that is replayed, chose before; all choices are on disk before they count."""

    def record(loop: str, steps: int) -> None:
        folder.append(STEPS, {"loop": loop, "steps": steps})

    known = _steps(folder)
    for loop in [loop for loop in replayed if loop not in known]:
        record(loop, replayed[loop])
    return Plan({**replayed, **known}, record)


def _campaign(setting: Setting, config: AttackConfig, plan: Plan, repeat: int) -> Campaign:
    return Campaign(
        seed=seed_of("attacks", config.seed, repeat),
        secret=setting.secret(config.seed, repeat),
        quick=config.quick,
        plan=plan,
        name=f"repeat-{repeat}/" if repeat else "",
    )


def _fitted(setting: Setting, session: Session, name: str, budget: Budget) -> Attack:
    """The attack, fitted: the same that others find and start from, unless the setting makes its own."""
    torch.manual_seed(session.seeded(name))
    if setting.create is None:
        found: Attack = session.fitted(available()[name], budget)
        torch.manual_seed(session.seeded(f"{name}, reconstructing"))
        return found
    attack = setting.create(name)
    attack.fit(session.oracle(budget))
    return attack


def _share(name: str, threat: ThreatModel) -> float:
    return available()[name].share(threat) if name in available() else 1.0


def _link_rows(policy: MergePolicy, transmission: Transmission, truth: Tensor | None) -> pd.DataFrame:
    answers = transmission.logits.argmax(-1).cpu()
    return pd.DataFrame(
        {
            "policy": policy.name,
            "image": range(len(answers)),
            "label": None if truth is None else truth.tolist(),
            "answer": None if truth is None else answers.tolist(),
            "correct": None if truth is None else (answers == truth).int().tolist(),
            "gflops": (transmission.flops / 1e9).tolist(),
            "coding_gflops": (transmission.coding_flops / 1e9).tolist(),
            "tokens": transmission.sent.counts,
            "symbols": transmission.symbols.tolist(),
            "header": transmission.header.tolist(),
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
