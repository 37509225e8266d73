"""Attacks on policies: the loop from pictures to scores."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from atm.data import Splits
from atm.errors import AtmError, one_line
from atm.link import Link, Transmission
from atm.policy import MergePolicy
from atm.seeds import seed_of
from atm.store import StoredRun
from atm.text import counted
from atm.threat import ThreatModel
from attacks import Attack, available, inferences
from attacks.beginning import ELSEWHERE, Beginning
from attacks.budget import Budget, Plan, Shares
from attacks.session import Campaign, Session
from audit import cluster, harm
from audit.attack_config import AttackConfig
from audit.bounds import bounds, sources, unbounded
from audit.canary import canary
from audit.folder import Notebook, Results, RunFolder
from audit.notes import heading, notes
from audit.setting import Setting, prepare
from audit.steps import plan_of, steps_of
from audit.suite import lacking
from privacy_metrics import score
from reports.bounds import add_bounds
from reports.html import write_report
from reports.recognition import LIKENESS, SEEN
from reports.run import Run
from reports.transcripts import SERVER


def attack(
    config: AttackConfig,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    ray: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    """Attack policies, write the run folder ``out`` with its report, and give the finished run.

    Args:
        config: what to attack, and how.
        out: the run folder.
        resume: go on with the run that is there.
        force: replace the run that is there.
        ray: address of a Ray cluster on which every policy is attacked apart, or ``local``; None does all in this
            process. The numbers are the same, but for what a budget in seconds allows.
        say: called with a line for each step.

    Raises:
        AtmError: bad input, in one line; nothing is written then.
    """
    with RunFolder(out, config.as_dict(), resume=resume, force=force) as folder, cluster.connected(ray, config.device):
        return _attack(config, folder, say, apart=bool(ray))


def _attack(config: AttackConfig, folder: RunFolder, say: Callable[[str], None], apart: bool) -> Run:
    setting = prepare(config, say)
    for line in setting.about["data"]["skipped"]:
        say(f"skipped {line}")
    for line in setting.about["data"]["notes"]:
        say(f"{setting.signal.noun}s: {line}")
    if setting.prior is not None and not any(available()[name].needs_prior for name in setting.attacks):
        say("--prior is a language model that none of these attacks uses")
    evaluate(setting, folder, config, say, apart)
    for policy in setting.policies:
        link = setting.link(policy)
        if not unbounded(link, setting.threat, len(setting.data.victims)):
            say(f"checking provable bounds of {policy.name}")
        hers = setting.data.auxiliary.rows[: sources(link)]
        rows = bounds(link, setting.threat, setting.data.victims.inputs, hers, seed_of(config.seed, "bounds"))
        add_bounds(folder, policy.name, rows)
    write_report(folder.path)
    return Run.read(folder.path)


def evaluate(
    setting: Setting, folder: RunFolder, config: AttackConfig, say: Callable[[str], None], apart: bool = False
) -> None:
    """Run every attack on every policy that is not finished yet.

    Args:
        setting: from `prepare`.
        folder: where scores and pictures go.
        config: the same that was prepared.
        say: called with a line for each step.
        apart: on the cluster that this process is connected to.

    Raises:
        AtmError: the adversary holds a picture that is attacked, or an attack returns no pictures.
    """
    _refuse_overlap(setting.data, setting.signal.noun)
    originals = setting.data.victims.inputs
    replayed = {} if config.replay is None else _replayed(setting, StoredRun(config.replay, "attack"))
    taken, missing = score(originals[:1], originals[:1], setting.scores)
    say("attacking the canary")
    folder.describe(
        {
            **setting.about,
            "canary": folder.about.get("canary") or canary(setting.encoder, setting.data, config.seed),
            "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "command": config.command(str(folder.path)),
            "metrics": {name: heading(name) for name in taken}
            | ({} if setting.recognition is None else {LIKENESS: setting.recognition.heading}),
            "notes": notes(originals, taken, missing, lacking(config.attacks, setting.signal.name)),
        }
    )
    folder.save_images("original", originals, setting.signal)
    plan = plan_of(folder, replayed)
    if apart:
        _evaluate_apart(setting, folder, config, plan, say)
        return
    campaigns = [_campaign(setting, config, plan, repeat) for repeat in range(config.repeats)]
    for number, repeat in product(range(len(setting.policies)), range(config.repeats)):
        _evaluate_policy(setting, folder, config, number, repeat, campaigns[repeat], say)


def _replayed(setting: Setting, run: StoredRun) -> dict[str, int]:
    """How many steps each loop of a run took, which had the same language model and began from the same placer."""
    for option, what in (("prior", "language model"), ("placer", "placer")):
        if run.about.get(option) != setting.about.get(option):
            raise AtmError(f"--replay {run.path} had another {what} or none; give the same --{option}")
    return steps_of(run)


def _evaluate_policy(
    setting: Setting,
    results: Results,
    config: AttackConfig,
    number: int,
    repeat: int,
    campaign: Campaign,
    say: Callable[[str], None],
) -> None:
    """Run every attack that is not finished on the policy of some number, once."""
    gc.collect()  # the session before is a cycle, and what it kept on disk or on a GPU ends with it
    policy, originals = setting.policies[number], setting.data.victims.inputs
    session = Session(
        setting.link(policy),
        setting.threat,
        setting.data.hers,
        labels=harm.labels(setting.data),
        unsent=setting.unsent,
        encoded=setting.encodings(policy),
        campaign=campaign if setting.suited(policy) else replace(campaign, placer=None),
    )
    say(f"sending the {setting.signal.noun}s that are attacked by {policy.name}{_again(repeat)}")
    transmission, seen, true_map = session.victims(originals)
    link = setting.link(policy)
    if (policy.name, repeat) not in results.linked:
        answered = setting.answers.answered(link, transmission)
        if (written := answered.written) is not None:
            results.add_transcripts(policy.name, SERVER, written.texts, written.wrong, repeat)
        rows = _link_rows(link, transmission, setting.answers.truth, answered.numbers)
        results.add_link(policy.name, rows, repeat)
    if not all(results.finished(policy.name, name, repeat) for name in setting.attacks):
        hers = counted(len(setting.data.hers), setting.signal.noun)
        say(f"encoding the adversary's {hers} by {policy.name}{_again(repeat)}")
        setting.encodings(policy).prepare()  # which is no attack's time: others find it done
    shares = Shares(config.budget, {name: _share(name, session.threat) for name in setting.attacks})
    total = len(setting.policies) * config.repeats * len(setting.attacks)
    before = (number * config.repeats + repeat) * len(setting.attacks)
    results.add_placer(policy.name, repeat, None if setting.suited(policy) else Beginning(ELSEWHERE))
    for place, name in enumerate(setting.attacks):
        if results.finished(policy.name, name, repeat):
            continue
        say(f"[{before + place + 1}/{total}] {name} on {policy.name}{_again(repeat)}")
        begun = time.monotonic()
        with _named(name, policy):
            attack = _fitted(setting, session, name, session.budget(shares.of(name), name))
            ready = time.monotonic()
            rebuilt = attack.reconstruct(seen).cpu()
        results.add_seconds(policy.name, name, ready - begun, time.monotonic() - ready, repeat)
        if (fault := setting.signal.fault(rebuilt, len(originals))) is not None:
            raise AtmError(f"attack {name!r} returned {fault}")
        scores, _ = score(rebuilt, originals, setting.scores)
        if setting.recognition is not None:
            scores |= setting.recognition.scores(rebuilt)
        if (heard := setting.answers.read(setting.encoder, rebuilt)) is not None:
            results.add_transcripts(policy.name, name, heard.texts, heard.wrong, repeat)
            scores = {**scores, SEEN: heard.right}
        if (found := attack.recover(seen)) is not None:
            scores = {**scores, **harm.placed(found.cpu(), true_map.cpu())}
        if attack.history is not None:
            results.add_history(policy.name, name, repeat, attack.history.as_dict())
        results.add_placer(policy.name, repeat, session.beginning)
        results.add_scores(policy.name, name, scores, (rebuilt, setting.signal), repeat)
    for name in setting.inferences:
        if results.finished(policy.name, name, repeat):
            continue
        say(f"{name} on {policy.name}{_again(repeat)}")
        torch.manual_seed(session.seeded(name))
        with _named(name, policy):
            scores = harm.run(inferences()[name](), session.oracle(), setting.data, seen)
        results.add_placer(policy.name, repeat, session.beginning)
        results.add_scores(policy.name, name, scores, None, repeat)


@dataclass(frozen=True)
class _Job:
    """A policy by its number, attacked on a worker with the steps that are known; ``agreed`` chooses further ones."""

    number: int
    repeat: int
    notebook: Notebook
    steps: dict[str, int]
    agreed: cluster.Agreement


def _evaluate_apart(
    setting: Setting, folder: RunFolder, config: AttackConfig, plan: Plan, say: Callable[[str], None]
) -> None:
    """Attack every policy on a worker of its own, which prepares all of them: they share defences and seeds."""
    names, agreed = [*setting.attacks, *setting.inferences], cluster.Agreement()
    jobs = [
        _Job(number, repeat, Notebook(folder), plan.steps, agreed)
        for (number, policy), repeat in product(enumerate(setting.policies), range(config.repeats))
        if not all(folder.finished(policy.name, name, repeat) for name in names)
    ]
    theirs = cluster.placed(config)
    workers = cluster.Jobs(partial(prepare, theirs), partial(_evaluate_job, theirs), theirs.device)
    for done, (job, (notebook, steps)) in enumerate(workers.results(jobs), 1):
        for loop in steps.keys() - plan.steps.keys():
            plan.record(loop, steps[loop])
        plan.steps.update(steps)
        notebook.tell(folder)
        say(f"[{done}/{len(jobs)}] {setting.policies[job.number].name} was attacked" + _again(job.repeat))


def _evaluate_job(config: AttackConfig, setting: Setting, job: _Job) -> tuple[Notebook, dict[str, int]]:
    """On a worker: what was found, and the steps of every loop."""

    def record(loop: str, steps: int) -> None:
        plan.steps[loop] = job.agreed(loop, steps)  # an attack that policies share is fitted alike by all

    plan = Plan(dict(job.steps), record)
    campaign = _campaign(setting, config, plan, job.repeat)
    _evaluate_policy(setting, job.notebook, config, job.number, job.repeat, campaign, lambda line: None)
    return job.notebook, plan.steps


def _again(repeat: int) -> str:
    return f", repeat {repeat}" if repeat else ""


@contextmanager
def _named(attack: str, policy: MergePolicy) -> Iterator[None]:
    """An attack is one file that anybody may write: where it fails in any way, the error says which, in one line."""
    try:
        yield
    except AtmError:
        raise
    except Exception as error:
        raise AtmError(f"attack {attack!r} failed on policy {policy.name!r}: {one_line(error)}") from error


def _campaign(setting: Setting, config: AttackConfig, plan: Plan, repeat: int) -> Campaign:
    return Campaign(
        seed=seed_of("attacks", config.seed, repeat),
        secret=setting.secret(config.seed, repeat),
        quick=config.quick,
        plan=plan,
        name=f"repeat-{repeat}/" if repeat else "",
        prior=setting.prior,
        placer=setting.placer,
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


def _link_rows(link: Link, transmission: Transmission, truth: Tensor | None, said: Tensor | None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "policy": link.policy.name,
            "image": range(len(transmission)),
            "label": None if truth is None else truth.tolist(),
            "answer": None if said is None else said.tolist(),
            "correct": None if said is None or truth is None else (said == truth).int().tolist(),
            "gflops": (transmission.flops / 1e9).tolist(),
            "coding_gflops": (transmission.coding_flops / 1e9).tolist(),
            "tokens": transmission.sent.counts,
            "symbols": transmission.symbols.tolist(),
            "header": transmission.header.tolist(),
        }
    )


def _refuse_overlap(data: Splits, noun: str) -> None:
    """An attack that was trained on the pictures it is scored on shows memory, not leakage."""
    shared = set(data.victims.hashes) & {*data.auxiliary.hashes, *data.validation.hashes}
    if shared:
        raise AtmError(
            f"{len(shared)} of the {len(data.victims)} attacked {noun}s are among the adversary's own; "
            f"attack {noun}s that she does not have"
        )
