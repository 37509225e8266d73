"""What privacy costs by merging, and by other defences of the same bandwidth or the same accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic.dataclasses import dataclass as configuration
from torch import Tensor

import defenses
from atm.link import Link
from atm.policy import MergePolicy
from atm.seeds import seed_of
from atm.store import RunStore
from atm.victims import Answers
from attacks import available
from attacks.budget import Plan, Shares
from attacks.session import Campaign, Session
from audit import cluster, harm
from audit.attack_config import AttackConfig
from audit.setting import Setting, defended, prepare
from audit.steps import plan_of
from audit.suite import ALL, CLOSED_FORM, LEARNED, choose_attacks, unblind
from audit.system import STRICT, Names, OnAir
from privacy_metrics import METRICS
from privacy_metrics.leakage import leakage
from reports.compare import POINTS, Comparison, write_comparison

BISECTIONS = 8  # halvings of the noise strength's range, which `STRONGEST` ends
STRONGEST = 4.0  # deviations of the tokens
FREE = ("attacks",)  # how they are asked for; which they come to is compared by `RunStore.begin`
MATCHING = 256  # calibration images on which accuracy is matched; never the victims'


@configuration(frozen=True, kw_only=True, config=STRICT)
class CompareConfig(OnAir):
    """What ``atm compare`` is asked for, beside what every command is.

    Attributes:
        policies: merging policies; each brings with it dropping of its bandwidth and noise of its accuracy.
        defenses: further defences, of unmerged tokens.
        attacks: trained anew against every system; by default what a signal has in closed form and what it has learned.
        quick: as `AttackConfig` has it.
        budget: likewise, for each system.
    """

    COMMAND: ClassVar[str] = "atm compare"

    policies: Names = ("moderate", "aggressive")
    defenses: Names = ()
    attacks: Names = (CLOSED_FORM, LEARNED)
    auxiliary: int = 2000
    quick: bool = False
    budget: float | None = None

    def attack(self) -> AttackConfig:
        """The same as an attack on the merging policies, the unmerged one first."""
        return AttackConfig.of(self, policies=("none", *(p for p in self.policies if p != "none")))


@dataclass(frozen=True)
class Candidate:
    """One system on the plot: a policy, a defence, and to which policy it was matched, in what."""

    name: str
    kind: str
    policy: MergePolicy
    defence: str | None = None
    matched_to: str | None = None


def compare(
    config: CompareConfig,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    ray: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Measure every system that is not measured yet, and write ``points.jsonl``, ``points.csv`` and the page.

    Args:
        config: what to compare.
        out: the folder.
        resume: go on with the comparison that is there.
        force: replace it.
        ray: address of a Ray cluster that measures the systems, or ``local``; None does all in this process.
        say: called with a line for each step.

    Raises:
        AtmError: bad input, in one line; nothing is written then.
    """
    for text in config.defenses:
        if text != "none":
            defenses.create(text)
    with (
        RunStore(out, "compare", config.as_dict(), resume=resume, force=force, free=FREE) as folder,
        cluster.connected(ray, config.device),
    ):
        return _compare(config, folder, say, apart=bool(ray))


def _compare(config: CompareConfig, folder: RunStore, say: Callable[[str], None], apart: bool) -> Comparison:
    setting = prepare(config.attack(), say)
    assert setting.victim is not None
    setting.victim.need_task("atm compare")
    unblind(setting.attacks, config.attacks, setting.signal.name)  # refuses what measures no leakage
    folder.begin({**_about(setting), "config": config.as_dict()})
    done = {point["name"] for point in folder.records(POINTS)}
    wanted = (candidate for candidate in candidates(config, setting, say) if candidate.name not in done)
    plan = plan_of(folder, {})
    for point in _measured_apart(config, plan, wanted, say) if apart else _measured(config, setting, plan, wanted, say):
        folder.append(POINTS, point)
    write_comparison(folder.path)
    return Comparison.read(folder.path)


def _measured(
    config: CompareConfig, setting: Setting, plan: Plan, wanted: Iterable[Candidate], say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    for candidate in wanted:
        say(f"attacking {candidate.name}")
        yield measure(config, setting, candidate, plan)


def _measured_apart(
    config: CompareConfig, plan: Plan, wanted: Iterable[Candidate], say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """The same on the cluster, as they end."""
    theirs = cluster.placed(config)
    work = partial(_measured_there, theirs, dict(plan.steps))
    workers = cluster.Jobs(partial(prepare, theirs.attack()), work, theirs.device)
    for candidate, (point, steps) in workers.results(wanted):
        for loop in steps.keys() - plan.steps.keys():
            plan.record(loop, steps[loop])
        yield point
        say(f"{candidate.name} was attacked")


def _measured_there(
    config: CompareConfig, steps: dict[str, int], setting: Setting, candidate: Candidate
) -> tuple[dict[str, Any], dict[str, int]]:
    """On a worker: what was measured, and the steps of every loop."""
    plan = Plan(dict(steps))
    return measure(config, setting, candidate, plan), plan.steps


def candidates(config: CompareConfig, setting: Setting, say: Callable[[str], None]) -> Iterator[Candidate]:
    """Every system on the plot: unmerged, merged, matched to a merged one, and defended as asked for."""
    dense = unmerged(setting.policies[-1])
    yield Candidate("none", "none", dense)
    for policy in setting.policies[1:]:
        yield Candidate(policy.name, "merging", policy)
        dense = unmerged(policy)
        fraction = drop_of_equal_bandwidth(setting, policy)
        yield Candidate(f"drop for {policy.name}", "dropping", dense, f"drop:{fraction:g}", policy.name)
        say(f"matching noise to the accuracy of {policy.name}")
        strength = noise_of_equal_accuracy(config, setting, policy)
        yield Candidate(f"noise for {policy.name}", "noise", dense, f"gaussian:{strength:g}", policy.name)
    for text in config.defenses:
        if text != "none":
            yield Candidate(text, "defence", dense, text)


def unmerged(policy: MergePolicy) -> MergePolicy:
    """The policy that merges nothing and sends its tokens after the same layer."""
    return MergePolicy.uniform(1.0, policy.depth, exit_layer=policy.exit_layer, name="none")


def drop_of_equal_bandwidth(setting: Setting, policy: MergePolicy) -> float:
    """The part of the free tokens to drop so that as many are sent as a policy sends, on average.

    Matched on the attacked images themselves, whose bandwidth and nothing else is looked at. A frame has a whole number
    of tokens, so the match is to half a token.
    """
    images = setting.data.victims.inputs
    dense, merged = (setting.link(each).transmit(images).sent for each in (unmerged(policy), policy))
    free, left = (float(each.lengths.double().mean()) - each.prefix for each in (dense, merged))
    return round(1 - max(1.0, left) / free, 6)


def noise_of_equal_accuracy(config: CompareConfig, setting: Setting, policy: MergePolicy) -> float:
    """The strength of Gaussian noise on unmerged tokens at which the task is answered as well as under a policy.

    Found by bisection on calibration images with one fixed draw of the noise; 0 where merging costs no accuracy.
    """
    part = setting.data.auxiliary.subset(torch.arange(min(MATCHING, len(setting.data.auxiliary))))
    assert setting.victim is not None
    answers = setting.victim.answers(part)
    dense = setting.link(unmerged(policy))
    wanted = _accuracy(setting.link(policy), part.inputs, answers)

    def enough(strength: float) -> bool:
        link = defended(dense, f"gaussian:{strength}", setting.data, config.seed)
        return _accuracy(link, part.inputs, answers) >= wanted

    return STRONGEST if enough(STRONGEST) else round(strongest(enough, STRONGEST, BISECTIONS), 6)


def strongest(enough: Callable[[float], bool], most: float, halvings: int) -> float:
    """The greatest strength from 0 to ``most`` that leaves enough, to so many halvings of that range and from below."""
    low, high = 0.0, most
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def measure(config: CompareConfig, setting: Setting, candidate: Candidate, plan: Plan | None = None) -> dict[str, Any]:
    """Costs and leakage of one system, image by image; every attack is fitted anew, on other random numbers."""
    originals = setting.data.victims.inputs
    link = defended(setting.link(candidate.policy), candidate.defence, setting.data, config.seed)
    campaign = Campaign(
        seed_of("attacks", config.seed),
        setting.secret(config.seed),
        quick=config.quick,
        plan=plan or Plan(),
        name=f"{candidate.name}/",  # systems of one policy differ in their defences
    )
    session = Session(
        link,
        setting.threat,
        setting.data.hers,
        labels=harm.labels(setting.data),
        encoded=setting.encodings(candidate.policy),
        campaign=campaign,
    )
    transmission, seen, _ = session.victims(originals)
    names, denied = setting.attacks, list[str]()
    if link.denies & setting.threat.knows:  # a secret order: those who can recover it instead of those who need it
        names, denied = choose_attacks((ALL,) if ALL in config.attacks else (), session.threat, link.signal.name)
    scores: dict[str, Tensor] = {}
    cut = list[str]()
    shares = Shares(config.budget, {name: available()[name].share(session.threat) for name in names})
    for name in names:
        attack = session.fitted(available()[name], session.budget(shares.of(name), name))
        if attack.history is not None and attack.history.cut:
            cut.append(name)
        torch.manual_seed(session.seeded(f"{name}, reconstructing"))
        scores[name] = METRICS[link.signal.leakage].compute(attack.reconstruct(seen).cpu(), originals)
    return {
        "name": candidate.name,
        "kind": candidate.kind,
        "policy": candidate.policy.name,
        "defence": candidate.defence,
        "matched_to": candidate.matched_to,
        "denied": denied,
        "cut": cut,
        "correct": setting.answers.correct(link, transmission).int().tolist(),
        "gflops": (transmission.flops / 1e9).tolist(),
        "coding_gflops": (transmission.coding_flops / 1e9).tolist(),
        "tokens": transmission.sent.counts,
        "symbols": transmission.symbols.tolist(),
        "leakage": leakage(scores).tolist(),
        link.signal.leakage: {name: values.tolist() for name, values in scores.items()},
    }


def _accuracy(link: Link, images: Tensor, answers: Answers) -> float:
    return float(answers.correct(link, link.transmit(images, 17)).mean())


def _about(setting: Setting) -> dict[str, Any]:
    """What an attack says about itself, without its own configuration."""
    return {key: value for key, value in setting.about.items() if key not in ("kind", "config", "defence")}
