"""A search from end to end, and its folder on disk.

``search.json`` says what was asked for, ``trials.jsonl`` has a line per evaluation. When the search ends they are
joined by ``front.csv``, the front's policies in ``policies/``, ``report.html``, and the full suite in ``rescored/``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from atm.errors import AtmError
from atm.store import RunStore, make_folder, settings_of, write
from audit import cluster
from audit.evaluate import attack
from audit.pareto.again import measured_again, unseen
from audit.pareto.config import SearchConfig
from audit.pareto.execution import Executor, InProcess, OnRay
from audit.pareto.objectives import need
from audit.pareto.outcome import RESCORED, STOPPED, SUITE_IMAGES, Outcome
from audit.pareto.privacy import create_score
from audit.pareto.problem import PolicyProblem, Problem
from audit.pareto.recommendation import recommended
from audit.pareto.rounds import ROUNDS, in_rounds
from audit.pareto.space import Space
from audit.pareto.trials import Trial, TrialLog
from audit.setting import prepare
from reports.verdict import verdicts

Say = Callable[[str], None]
MADE_WITH = (
    "victim",
    "signal",
    "codec",
    "data",
    "threat",
    "device",
    "versions",
)  # what the names in a configuration stand for
SUITE_SECONDS = 100.0  # of the full suite for a policy: with five of them a search ends within a quarter of an hour


def search(
    config: SearchConfig,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    held_out: bool = True,
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
        held_out: whether the front is measured again at the end, on at most as many other pictures and at least half.
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
    with reserve(out, config, resume, force) as store, cluster.connected(ray, config.device):
        problem = make_problem(config, say=say)
        theirs = cluster.placed(config)
        executor = OnRay(partial(make_problem, theirs), theirs.device) if ray else InProcess(problem)
        made_with = {key: problem.setting.about[key] for key in MADE_WITH}
        made_with |= {"like": problem.rules.as_dict()} if config.like else {}
        store.begin({"config": config.as_dict(), "made_with": made_with})
        outcome = explore(problem, config, store, executor, say)
        if held_out and outcome.front and not outcome.stopped:
            outcome = measured_again(outcome, store, partial(_on_other_pictures, config, problem, say), say)
        if rescore and outcome.front and not outcome.stopped:
            outcome = rescored(outcome, store, rescore, say, budget, ray)
        if outcome.full:
            outcome = foretold(outcome, store, problem.space)
        finish(outcome)
    return outcome


def make_problem(config: SearchConfig, rounds: int = ROUNDS, say: Say = lambda line: None) -> PolicyProblem:
    """Load everything that a configuration names; policies take turns with at most so many sets of pictures.

    ``say`` is called with a line for each step, of which some take minutes on a large victim.
    """
    objectives, limits, _ = config.asked()
    measured = tuple(dict.fromkeys([*objectives, *(limit.objective for limit in limits)]))
    score = create_score(config.score)  # an unknown name is told before anything is loaded
    rules = config.rules()
    setting = prepare(config.attack(policies=(config.like or "none",), auxiliary=20), say)
    need(measured, setting.encoder.device)
    if any(each.name == "accuracy" for each in measured):
        assert setting.victim is not None
        setting.victim.need_task("atm search")
    say(f"drawing {setting.signal.noun}s to take turns with")
    setting, found = in_rounds(setting, config, rounds)
    return PolicyProblem(setting, measured, score, config.lowest, config.seed, rules, found, say)


def _on_other_pictures(config: SearchConfig, problem: PolicyProblem, say: Say) -> PolicyProblem | None:
    say(f"drawing {problem.setting.signal.noun}s that the search did not see")
    setting = unseen(problem.setting, config)
    if setting is None:
        return None
    score, seed = create_score(config.score), config.seed + 1
    return PolicyProblem(setting, problem.measured, score, config.lowest, seed, problem.rules, say=say)


def explore(problem: Problem, config: SearchConfig, store: RunStore, executor: Executor, say: Say) -> Outcome:
    """Run the loop on whatever problem, and write down how it ended."""
    from audit.pareto.loop import Loop  # BoTorch takes seconds to import; nothing else on the command line needs it
    from audit.pareto.proposer import Proposer

    objectives, limits, asked = config.asked()
    proposer = Proposer(objectives, limits, problem.space.depth, config.evals, config.seed, asked)
    if "start" in store.about:  # a prolonged search keeps the start, and so the units, that it began with
        proposer = replace(proposer, started=store.about["start"])
    store.update(start=proposer.start, notes=[], believed={})
    log = TrialLog(store)
    notes = Loop(problem, proposer, executor, log, say).run()
    units = [problem.space.unit(trial.thresholds) for trial in log.trials]
    store.update(notes=notes, believed=proposer.believed(log.trials, units))
    return Outcome.read(store.path)


def finish(outcome: Outcome) -> None:
    """Write ``front.csv``, the policies and the report."""
    from audit.pareto.report import write_report

    table = outcome.table()
    order = {trial.number: rank for rank, trial in enumerate(outcome.front)}
    best = table[table.front].drop(columns="front")
    best = best.sort_values("trial", key=lambda column: column.map(order))
    write(outcome.folder / "front.csv", best.to_csv(index=False))
    for path in (outcome.folder / "policies").glob("trial-*.yaml"):
        path.unlink()
    for trial in outcome.front:
        write_policy(outcome, trial)
    write_report(outcome)


def write_policy(outcome: Outcome, trial: Trial) -> Path:
    """A trial's policy as a YAML file, ready for ``atm attack --policy``."""
    path = outcome.folder / "policies" / f"{trial.name}.yaml"
    make_folder(path.parent)
    rules = outcome.config.rules()
    ruled = trial.policy if rules is None else replace(rules, thresholds=trial.thresholds, name=trial.name)
    ruled.write(path)
    return path


def rescored(
    outcome: Outcome, store: RunStore, count: int, say: Say, budget: float | None = None, ray: str | None = None
) -> Outcome:
    """Attack ``count`` policies of the front with every attack that the threat model permits.

    The recommended policies come first, then others evenly along the front. Stopping here loses nothing: the finished
    attacks are taken up again by ``--resume``. ``budget``: seconds for each policy, shared by its attacks; its
    report says what was cut. ``ray``: see `search`.
    """
    policies = [str(write_policy(outcome, trial)) for trial in representatives(outcome, count)]
    config = outcome.config.attack(
        policies=tuple(policies), images=min(outcome.config.images, SUITE_IMAGES), budget=budget
    )
    folder = outcome.folder / RESCORED
    before = settings_of(folder, "attack").get("config", {})
    same = before.get("policies") == policies and before.get("budget") == budget

    def tell(line: str) -> None:
        say(f"full suite {line}")

    try:
        run = attack(config, folder, resume=same, force=not same, ray=ray, say=tell)
    except KeyboardInterrupt:
        note = f"{STOPPED} while the full suite was attacking the front; --resume goes on with it"
        return replace(outcome, notes=(*outcome.notes, note))
    found = {v.policy: (v.leakage.estimate, v.leakage.low, v.leakage.high) for v in verdicts(run)}
    full = {**outcome.full, **found}  # what it found in other policies before, it has found
    store.update(full=full)
    return replace(outcome, full=full)


def foretold(outcome: Outcome, store: RunStore, space: Space) -> Outcome:
    """With what the full suite would find in the policies that it did not attack, as far as that can be said."""
    from audit.pareto.fidelity import expected  # BoTorch takes seconds to import

    found = expected(outcome.trials, [space.unit(trial.thresholds) for trial in outcome.trials], outcome.full)
    store.update(expected=found)
    return replace(outcome, expected=found)


def representatives(outcome: Outcome, count: int) -> list[Trial]:
    """At most ``count`` of the front: the recommended, then evenly spaced ones.

    What the full suite found before is left aside, so that a search that goes on attacks the same ones.
    """
    outcome = replace(outcome, full={}, expected={})
    chosen = list({r.trial.number: r.trial for r in recommended(outcome)}.values())[:count]
    rest = [trial for trial in outcome.front if trial not in chosen]
    wanted = min(count - len(chosen), len(rest))
    steps = [round(i * (len(rest) - 1) / max(wanted - 1, 1)) for i in range(wanted)]
    return sorted([*chosen, *(rest[step] for step in dict.fromkeys(steps))], key=lambda trial: trial.number)


def reserve(folder: str | Path, config: SearchConfig, resume: bool = False, force: bool = False) -> RunStore:
    """The right to write a search there, or to go on with one, if it is the one asked for or has fewer evaluations.

    Nothing in it is changed, so that a mistake elsewhere costs no old search.

    Raises:
        AtmError: the folder holds something else.
    """
    return RunStore(folder, "search", config.as_dict(), resume=resume, force=force, free=("evals",))


def open_folder(folder: Path, config: SearchConfig, resume: bool, force: bool) -> RunStore:
    """A folder that is ready for `explore`, of a problem that was not made from the configuration."""
    store = reserve(folder, config, resume, force)
    store.begin({"config": config.as_dict()})
    return store
