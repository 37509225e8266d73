"""The search against what people would use instead, and the cheap privacy score against the full suite.

``python -m benchmarks.search --json [--only hypervolume|privacy-score|reach]``

Every method calls the same objective function: a victim on ``--images`` pictures of its data, evaluated
anew for each policy (about half a second) and remembered by thresholds. Hypervolume is measured for all methods in one
frame: from the worst of the unmerged policy, the most merging one and 30 Sobol policies, moved on by a tenth of their
range. Rivals choose thresholds in [``--lowest``, 1]; our search does too, through its own map.

The objective function is noisy, because the pictures are few: a policy that is lucky on them looks good. So methods are
judged by what a user gets: the front that each ends with is measured again on other pictures of the same data and with
another adversary, and ``held_out_hypervolume`` is what it was really worth. Rivals evaluate all policies on the same
pictures, and ours, where the data have more, on as many of several sets in turn (`audit.pareto.rounds`), for which the
unmerged victim is evaluated once more for each set; its front is what its model believes after so many evaluations.
``in_doubt`` is how many policies were measured of which no other is surely at least as good (`benchmarks.doubt`).
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch.quasirandom import SobolEngine

from atm.policy import MergePolicy
from atm.weight_files import file_digest
from audit.adversary import samples
from audit.evaluate import attack
from audit.pareto.config import SearchConfig
from audit.pareto.fidelity import expected
from audit.pareto.front import Frame, curve, front, hypervolume
from audit.pareto.privacy import create_score
from audit.pareto.problem import PolicyProblem
from audit.pareto.proposer import Proposer
from audit.pareto.run import make_problem
from audit.pareto.trials import Trial
from benchmarks.command import Parser, add_system, positive, run, system
from benchmarks.doubt import in_doubt
from benchmarks.rivals import METHODS, Remembering, most_removed, removing
from benchmarks.rows import told
from reports.run import Run

TOLD = 5  # policies that the suite attacks at the end of a search
CHECKED = (21, 32, 64)  # evaluations after which a search is judged


def hypervolumes(
    config: SearchConfig, seeds: Sequence[int], methods: Sequence[str], held_out: int, memory: Path | None
) -> Iterator[dict[str, object]]:
    """Rows as they come, seed after seed, so that one that is cut off still compares all methods."""
    evals, objectives = config.evals, config.asked()[0]
    problem, turns = make_problem(config, rounds=1), make_problem(config)
    rivals = Remembering(problem, config.lowest, objectives, _part(memory, "search", config))
    frame, ours = _frame(rivals), rivals
    if len(turns.rounds) > 1:
        ours = Remembering(turns, config.lowest, objectives, _part(memory, "rounds", config))
    if held_out:
        other, other_frame = _judge(turns, config, held_out, memory)
    for seed in seeds:
        for method in methods:
            own = ours if method == "ours" else rivals
            own.forget()
            begun = time.perf_counter()
            METHODS[method](own, evals, seed)
            seconds = time.perf_counter() - begun - own.evaluating
            found, policies = own.asked[:evals], own.policies[:evals]
            volumes = curve(found, frame)
            for count in sorted({*CHECKED, len(found)} & {*range(len(found) + 1)}):
                row = {"method": method, "seed": seed, "evaluations": count, "seconds": seconds}
                if own is rivals:  # ours in rounds has other pictures, and so another frame
                    row["hypervolume"] = volumes[count - 1]
                if held_out and (method == "ours" or count == len(found)):
                    chosen = front(_believed(own, found[:count], config, seed, method == "ours"), objectives)
                    other.forget()
                    for trial in chosen:
                        other.measure(policies[trial.number])
                    row |= {"front": len(chosen), "held_out_hypervolume": curve(other.asked, other_frame)[-1]}
                    row["in_doubt"] = len(in_doubt(found[:count], objectives))
                yield {"victim": config.victim, "images": config.images, **row}


def _believed(
    problem: Remembering, found: Sequence[Trial], config: SearchConfig, seed: int, by_model: bool
) -> list[Trial]:
    """What a method goes by when it ends: ours by its model, as `audit.pareto.outcome` does, others by the numbers."""
    if not by_model:
        return list(found)
    proposer = Proposer(config.asked()[0], (), problem.space.depth, config.evals, seed)
    means = proposer.believed(found, [problem.space.unit(trial.thresholds) for trial in found])
    return [replace(trial, values={**trial.values, **means.get(trial.name, {})}) for trial in found]


def _judge(problem: PolicyProblem, config: SearchConfig, count: int, memory: Path | None) -> tuple[Remembering, Frame]:
    """What fronts are measured on again, and in which units."""
    others = _on_others(problem, config, count)
    other = Remembering(others, config.lowest, config.asked()[0], _part(memory, "others", config, count))
    return other, _frame(other)


def _on_others(problem: PolicyProblem, config: SearchConfig, count: int) -> PolicyProblem:
    """The same system on so many pictures of the adversary's, which resemble none of the search's."""
    setting = problem.setting
    apart = replace(config.attack(auxiliary=2 * count), images=len(setting.data.victims))
    others = samples(apart, setting.signal).auxiliary.subset(range(count))
    assert setting.victim is not None
    changed = replace(
        setting, data=replace(setting.data, victims=others), answers=setting.victim.answers(others), encoded={}
    )
    score = create_score(config.score)
    return PolicyProblem(changed, problem.measured, score, config.lowest, config.seed + 1, rules=problem.rules)


def _part(memory: Path | None, name: str, config: SearchConfig, others: int = 0) -> Path | None:
    """The file of what was evaluated on the same system and pictures, by whatever method and however often."""
    if memory is None:
        return None
    files = [Path(each) for each in (config.like, config.weights, config.head) if each]
    digests = [file_digest(file) for file in files if file.is_file()]
    same = json.dumps([replace(config, evals=1, lowest=0.0).as_dict(), others, *digests], sort_keys=True)
    return memory.with_name(f"{memory.name}-{name}-{hashlib.sha256(same.encode()).hexdigest()[:8]}.jsonl")


def _frame(problem: Remembering) -> Frame:
    depth = problem.space.depth
    for unit in [[1.0] * depth, [0.0] * depth, *SobolEngine(depth, scramble=True, seed=999).draw(30).tolist()]:
        problem.costs(unit)
    return Frame.of(problem.objectives, problem.asked)


def reach(config: SearchConfig, held_out: int, memory: Path | None) -> Iterator[dict[str, object]]:
    """How far families of policies reach on pictures that no search sees, and what each policy adds to its family's."""
    objectives = config.asked()[0]
    other, frame = _judge(make_problem(config), config, held_out, memory)
    families: dict[str, list[MergePolicy]] = {"sobol": list(other.policies), **simple(other)}
    for family, policies in families.items():
        other.forget()
        for policy in policies:
            other.measure(policy)
        trials = list(other.asked)
        whole = curve(trials, frame)[-1]
        for trial, policy, own in zip(trials, policies, added(trials, frame), strict=True):
            point = dict(zip((o.name for o in objectives), frame.points([trial])[0].tolist(), strict=True))
            yield {
                "victim": config.victim, "pictures": held_out, "family": family, "hypervolume": whole, "added": own,
                "removed": policy.remove[:1], "thresholds": policy.thresholds, **trial.values, "in_frame": point,
            }  # fmt: skip


def added(trials: Sequence[Trial], frame: Frame) -> list[float]:
    """The hypervolume that would be lost without each of them."""
    whole = hypervolume(frame.points(trials))
    return [whole - hypervolume(frame.points([t for t in trials if t is not trial])) for trial in trials]


def simple(problem: Remembering) -> dict[str, list[MergePolicy]]:
    """Families of policies with one number: how many tokens, or what part of them, every layer merges."""
    space, most = problem.space, most_removed(problem)
    return {
        "fixed-ratio": [removing(problem, round(part * most)) for part in np.linspace(0, 1, 17)],
        "equal part": [MergePolicy(space.thresholds([part] * space.depth)) for part in np.linspace(0, 1, 9).tolist()],
    }


def privacy_score(config: SearchConfig, policies: int, attacks: Sequence[str], quick: bool) -> dict[str, object]:
    """Rank correlation of the cheap score with the suite from scratch, and its cost over that of accuracy."""
    problem = make_problem(config, rounds=1)
    units = SobolEngine(problem.space.depth, scramble=True, seed=1).draw(policies - 2).double().tolist()
    ends = [[0.0] * problem.space.depth, [1.0] * problem.space.depth]
    units = [*ends, *units]
    thresholds = [problem.space.thresholds(unit) for unit in units]
    cheap, ratios = [], []
    for values in thresholds:
        link = problem.setting.link(MergePolicy(values))
        begun = time.perf_counter()
        transmission = link.transmit(problem.images, 1)
        sent = time.perf_counter()
        cheap.append(float(problem.rounds[0].privacy.score(link, transmission, 2).mean()))
        ratios.append((time.perf_counter() - sent) / (sent - begun))
    with TemporaryDirectory() as folder:
        files = []
        for number, values in enumerate(thresholds):
            files.append(str(Path(folder) / f"policy-{number:02d}.yaml"))
            MergePolicy(values, name=f"policy-{number:02d}").write(files[-1])
        begun = time.perf_counter()
        full_suite = config.attack(policies=tuple(files), attacks=tuple(attacks), quick=quick)
        run: Run = attack(full_suite, Path(folder) / "run")
        suite = (time.perf_counter() - begun) / policies
        full = [float(run.worst_case(f"policy-{number:02d}").mean()) for number in range(policies)]
    return {
        "victim": config.victim,
        "threat": config.threat,
        "policies": policies,
        "images": config.images,
        "quick": quick,
        "attacks": list(run.attacks),
        "spearman": float(spearmanr(cheap, full).statistic),
        "cost_ratio": float(np.median(ratios)),
        "suite_seconds_per_policy": suite,
        **_foretold(units, cheap, full),
    }


def _foretold(units: Sequence[Sequence[float]], cheap: Sequence[float], full: Sequence[float]) -> dict[str, object]:
    """How far from the suite's leakage the score is, and what is expected where `TOLD` policies were attacked."""
    trials = [Trial(n, (), "", "", {"leakage": value}) for n, value in enumerate(cheap)]
    order = np.argsort(cheap)[np.linspace(0, len(cheap) - 1, min(TOLD, len(cheap))).round().astype(int)]
    found = expected(trials, units, {trials[n].name: (full[n],) * 3 for n in order})
    asked = [n for n, trial in enumerate(trials) if trial.name in found]
    truth = np.array(full)[asked]
    ends = np.array([found[trials[n].name] for n in asked]).reshape(-1, 3)
    return {
        "told": len(order),
        "score_error": float(np.sqrt(np.square(np.array(cheap)[asked] - truth).mean())) if asked else None,
        "expected_error": float(np.sqrt(np.square(ends[:, 0] - truth).mean())) if asked else None,
        "inside": float(((ends[:, 1] <= truth) & (truth <= ends[:, 2])).mean()) if asked else None,
    }


def table(rows: list[dict[str, object]]) -> str:
    """Final hypervolumes on other pictures, and after how many evaluations ours has the best rival's median."""
    judged = pd.DataFrame(rows).dropna(subset="held_out_hypervolume")
    last = judged[judged.evaluations == judged.groupby("method").evaluations.transform("max")]
    quartiles = {"lower": 0.25, "median": 0.5, "upper": 0.75}
    grouped = last.groupby("method").held_out_hypervolume
    final = pd.DataFrame({name: grouped.quantile(q) for name, q in quartiles.items()})
    final["front"] = last.groupby("method").front.median()
    final["own seconds"] = last.groupby("method").seconds.median()
    lines = [final.sort_values("median", ascending=False).round(4).to_string()]
    rivals = final.drop("ours", errors="ignore")["median"]
    if "ours" in final.index and len(rivals):
        medians = judged[judged.method == "ours"].groupby("evaluations").held_out_hypervolume.median()
        reached = medians.index[medians >= rivals.max()]
        when = f"after {reached[0]} evaluations" if len(reached) else "never"
        lines.append(
            f"ours reaches the final median of {rivals.idxmax()} {when}; looked at after {list(medians.index)}"
        )
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = Parser("search", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as they come")
    parser.add_argument("--only", choices=["hypervolume", "privacy-score", "reach"], help="default: the first two")
    add_system(parser)
    parser.add_argument("--evals", type=positive, default=64, help="policies that each method evaluates, at most")
    parser.add_argument("--seeds", type=positive, default=5, help="searches of each method")
    parser.add_argument("--first-seed", type=int, default=0, help="to spread the seeds over processes")
    parser.add_argument("--held-out", type=int, default=500, help="other pictures to measure fronts on again; 0: none")
    parser.add_argument("--memory", type=Path, help="begin of the names of files with evaluations, shared by runs")
    parser.add_argument("--like", help="policy file whose rules all policies share, such as the exit, as in atm search")
    parser.add_argument("--channel", default=SearchConfig.channel, help="as in atm search")
    parser.add_argument("--threat", default="server", help="as in atm search")
    parser.add_argument("--lowest", type=float, default=SearchConfig.lowest, help="as in atm search")
    parser.add_argument("--images", type=positive, default=200, help="that each policy is evaluated on")
    parser.add_argument("--policies", type=positive, default=24, help="of the privacy score, 3 or more")
    parser.add_argument("--auxiliary", type=positive, default=4000, help="of the full suite: hers, at most")
    parser.add_argument(
        "--method", nargs="*", choices=list(METHODS), default=list(METHODS), help="what is compared; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="the full suite with the few steps of atm attack --quick")
    parser.add_argument("--attack", nargs="*", default=[], help="attacks of the full suite; all by default")
    asked = parser.parse_args()
    if asked.policies < 3 or asked.held_out < 0 or (asked.only == "reach" and not asked.held_out):
        parser.error(f"--policies {asked.policies} or --held-out {asked.held_out} is too small for what is asked")
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    config = SearchConfig(
        **system(asked),
        like=asked.like,
        channel=asked.channel,
        threat=asked.threat,
        evals=asked.evals,
        images=asked.images,
        auxiliary=asked.auxiliary,
        lowest=asked.lowest,
    )
    if asked.only == "reach":
        told(reach(config, asked.held_out, asked.memory), True)
        return
    if asked.only != "privacy-score":
        seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
        rows = told(hypervolumes(config, seeds, asked.method, asked.held_out, asked.memory), asked.json)
        if not asked.json and asked.held_out:
            print(table(rows))
    if asked.only != "hypervolume":
        print(json.dumps(privacy_score(config, asked.policies, asked.attack, asked.quick)))


if __name__ == "__main__":
    run(main)
