"""A search from end to end, and its folder on disk.

``search.json`` says what was asked for, ``trials.jsonl`` has a line per evaluation. When the search ends they are
joined by ``front.csv``, the front's policies in ``policies/``, ``report.html``, and the full suite in ``rescored/``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from atm.errors import AtmError
from audit.evaluate import attack
from audit.search import cluster
from audit.search.config import SearchConfig
from audit.search.execution import Executor, InProcess
from audit.search.outcome import RESCORED, SETTINGS, STOPPED, SUITE_IMAGES, TRIALS, Outcome
from audit.search.privacy import create_score
from audit.search.problem import PolicyProblem, Problem
from audit.search.trials import Trial, TrialLog, read_json, replace_file
from audit.setting import prepare
from reports.run import Run
from reports.verdict import verdicts

Say = Callable[[str], None]
SUITE_SECONDS = 100.0  # of the full suite for a policy: with five of them a search ends within a quarter of an hour


def search(
    config: SearchConfig,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    rescore: int = 0,
    budget: float | None = SUITE_SECONDS,
    ray: str | None = None,
    say: Say = lambda line: None,
) -> Outcome:
    """Evaluate policies, each on disk before the next begins; write the front and the report.

    Args:
        config: what to search.
        out: the folder.
        resume: go on with the search that is there.
        force: replace the search that is there.
        rescore: how many policies of the front the full suite attacks at the end: the recommended ones first.
        budget: seconds of the full suite for each of them; None sets no limit.
        ray: address of a Ray cluster that evaluates and attacks, or ``local``; None does all in this process.
        say: called with a line for each step.

    Raises:
        AtmError: bad configuration, or a folder that holds another search.
    """
    config.asked()
    if rescore < 0 or (rescore and config.auxiliary < 20) or not (budget is None or budget > 0):
        raise AtmError(
            "the full suite needs a budget above 0 seconds, at least 20 --auxiliary pictures and no negative number "
            f"of policies, not {budget}, {config.auxiliary} and {rescore}"
        )
    check_folder(Path(out), config, resume, force)
    problem = make_problem(config)
    made_with = {key: problem.setting.about[key] for key in ("victim", "codec", "data", "versions")}
    with cluster.connected(ray) if ray else nullcontext():
        folder = open_folder(Path(out), config, resume, force, made_with)
        key = f"{config.as_dict()}"
        executor = cluster.OnRay(key, partial(make_problem, config)) if ray else InProcess(problem)
        outcome = explore(problem, config, folder, executor, say)
        if rescore and outcome.front and not outcome.stopped:
            outcome = rescored(outcome, rescore, say, budget, apart=ray is not None)
    finish(outcome)
    return outcome


def make_problem(config: SearchConfig) -> PolicyProblem:
    """Load everything that a configuration names."""
    objectives, limits, _ = config.asked()
    measured = tuple(dict.fromkeys([*objectives, *(limit.objective for limit in limits)]))
    privacy = create_score(config.score)
    setting = prepare(config.attack(policies=("none",), attacks=("mean_image",), auxiliary=20))
    if "accuracy" in config.objectives:
        assert setting.victim is not None
        setting.victim.need_task("atm search")
    return PolicyProblem(setting, measured, privacy, config.lowest, config.seed)


def explore(problem: Problem, config: SearchConfig, folder: Path, executor: Executor, say: Say) -> Outcome:
    """Run the loop on whatever problem, and write down how it ended."""
    from audit.search.loop import Loop  # BoTorch takes seconds to import; nothing else on the command line needs it
    from audit.search.proposer import Proposer

    objectives, limits, asked = config.asked()
    proposer = Proposer(objectives, limits, problem.space.depth, config.evals, config.seed, asked)
    log = TrialLog(folder / TRIALS)
    about = read_json(folder / SETTINGS)
    if "start" in about:  # a prolonged search keeps the start, and so the units, that it began with
        proposer = replace(proposer, started=about["start"])
    _describe(folder, start=proposer.start, notes=[])
    notes = Loop(problem, proposer, executor, log, say).run()
    _describe(folder, notes=notes)
    return Outcome.read(folder)


def finish(outcome: Outcome) -> None:
    """Write ``front.csv``, the policies and the report."""
    from audit.search.report import write_report

    table = outcome.table()
    order = {trial.number: rank for rank, trial in enumerate(outcome.front)}
    best = table[table.front].drop(columns="front")
    best = best.sort_values("trial", key=lambda column: column.map(order))
    replace_file(outcome.folder / "front.csv", best.to_csv(index=False))
    for path in (outcome.folder / "policies").glob("trial-*.yaml"):
        path.unlink()
    for trial in outcome.front:
        write_policy(outcome, trial)
    write_report(outcome)


def write_policy(outcome: Outcome, trial: Trial) -> Path:
    """A trial's policy as a YAML file, ready for ``atm attack --policy``."""
    path = outcome.folder / "policies" / f"{trial.name}.yaml"
    path.parent.mkdir(exist_ok=True)
    trial.policy.write(path)
    return path


def rescored(outcome: Outcome, count: int, say: Say, budget: float | None = None, apart: bool = False) -> Outcome:
    """Attack ``count`` policies of the front with every attack that the threat model permits.

    The recommended policies come first, then others evenly along the front. Stopping here loses nothing: the finished
    attacks are taken up again by ``--resume``. ``budget``: seconds for each policy, shared by its attacks; its
    report says what was cut. ``apart``: on a cluster, with a run folder for each policy.
    """
    policies = [str(write_policy(outcome, trial)) for trial in representatives(outcome, count)]
    config = outcome.config.attack(
        policies=tuple(policies), images=min(outcome.config.images, SUITE_IMAGES), budget=budget
    )
    folder = outcome.folder / RESCORED
    before = read_json(folder / "run.json")["config"] if (folder / "run.json").exists() else {}
    same = before.get("policies") == policies and before.get("budget") == budget

    def tell(line: str) -> None:
        say(f"full suite {line}")

    try:
        if apart:
            alone = {folder / Path(p).stem: replace(config, policies=(str(Path(p).absolute()),)) for p in policies}
            cluster.attack_apart(list(alone.values()), list(alone), tell)
            runs = [Run.read(path) for path in alone]
        else:
            runs = [attack(config, folder, resume=same, force=not same, say=tell)]
    except KeyboardInterrupt:
        note = f"{STOPPED} while the full suite was attacking the front; --resume goes on with it"
        return replace(outcome, notes=(*outcome.notes, note))
    judged = [verdict for run in runs for verdict in verdicts(run)]
    full = {v.policy: (v.leakage.estimate, v.leakage.low, v.leakage.high) for v in judged}
    _describe(outcome.folder, full=full)
    return replace(outcome, full=full)


def representatives(outcome: Outcome, count: int) -> list[Trial]:
    """At most ``count`` of the front: the recommended, then evenly spaced ones."""
    chosen = list({r.trial.number: r.trial for r in outcome.recommended()}.values())[:count]
    rest = [trial for trial in outcome.front if trial not in chosen]
    wanted = min(count - len(chosen), len(rest))
    steps = [round(i * (len(rest) - 1) / max(wanted - 1, 1)) for i in range(wanted)]
    return sorted([*chosen, *(rest[step] for step in dict.fromkeys(steps))], key=lambda trial: trial.number)


def check_folder(folder: Path, config: SearchConfig, resume: bool, force: bool) -> None:
    """Whether a search can be written there; nothing is changed, so that a mistake elsewhere costs no old search.

    Raises:
        AtmError: it holds something else.
    """
    settings = folder / SETTINGS
    if not settings.exists():
        if folder.exists() and (not folder.is_dir() or any(not p.name.endswith(".partial") for p in folder.iterdir())):
            raise AtmError(f"{folder} holds something that is no search; choose another --out")
    elif not resume and not force:
        raise AtmError(f"{folder} already holds a search; use --resume to go on with it or --force to replace it")
    elif not force:
        before = read_json(settings).get("config", {})
        for key, value in config.as_dict().items():
            if before.get(key) != value and key != "evals":
                raise AtmError(f"{folder} was searched with {key} = {before.get(key)!r}, not {value!r}; give the same")


def open_folder(
    folder: Path, config: SearchConfig, resume: bool, force: bool, made_with: dict[str, Any] | None = None
) -> Path:
    """Make the folder, or take it over if the search in it is the one that is asked for.

    Args:
        folder: to make or to take over.
        config: what is asked for.
        resume: go on with what is there.
        force: delete what is there.
        made_with: what the configuration's names stand for: digests of weights and data, and versions.

    Raises:
        AtmError: it holds something else, or was searched with other weights or pictures of the same names.
    """
    check_folder(folder, config, resume, force)
    settings, made_with = folder / SETTINGS, made_with or {}
    if settings.exists() and force:
        for path in [settings, folder / TRIALS, folder / "front.csv", folder / "report.html"]:
            path.unlink(missing_ok=True)
        for name in ("policies", RESCORED):
            shutil.rmtree(folder / name, ignore_errors=True)
    elif settings.exists():
        before = read_json(settings).get("made_with", {})
        for key in before.keys() & made_with.keys() - {"versions"}:
            if before[key] != made_with[key]:
                raise AtmError(f"{folder} was searched with another {key} of that name; use --force to start anew")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AtmError(f"output folder {folder} cannot be made: {error.strerror}") from None
    _describe(folder, config=config.as_dict(), made_with=made_with)
    return folder


def _describe(folder: Path, **facts: object) -> None:
    path = folder / SETTINGS
    about = read_json(path) if path.exists() else {}
    replace_file(path, json.dumps({**about, **facts}, indent=2))
