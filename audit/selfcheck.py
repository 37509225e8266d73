"""The evaluator evaluated: planted systems whose right verdict is known, judged as every other system is judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from atm.data import Splits
from atm.errors import AtmError
from atm.recogniser import Recogniser
from atm.signals import Signal
from atm.victims import Answers, load_victim
from attacks import BASELINES
from audit import harm
from audit.attack_config import AttackConfig
from audit.evaluate import evaluate
from audit.folder import RunFolder
from audit.planted import parts
from audit.planted.systems import NULL, REFUSED, SYSTEMS, System
from audit.recognition import Recognition
from audit.setting import Setting
from privacy_metrics.registry import metrics_of
from privacy_metrics.significance import SURE, holm, rate_p_value
from privacy_metrics.statistics import Interval, wilson
from reports.level import IN_PART, LEAKS
from reports.run import Run
from reports.verdict import Verdict, judge

NETWORKS = ("lpips", "dists")  # metrics that need weights, which the self-check does without
INFERENCES = ("identify", "traffic")  # of what is no picture


@dataclass(frozen=True)
class Judged:
    """One planted system.

    Attributes:
        system: its name.
        expected: its right verdict.
        verdict: the one that the evaluator reached.
        why: in words.
    """

    system: str
    expected: str
    verdict: str
    why: str

    @property
    def right(self) -> bool:
        """Whether the evaluator is right."""
        return self.verdict == self.expected


@dataclass(frozen=True)
class Size:
    """How large the pictures' numbers are, and how often each attack is fitted."""

    images: int
    auxiliary: int
    repeats: int


SMALL, FULL = Size(100, 600, 1), Size(200, 2000, 3)


def selfcheck(*, full: bool = False, seed: int = 0, say: Callable[[str], None] = lambda line: None) -> Iterator[Judged]:
    """Judge every planted system.

    Args:
        full: with more pictures and repeats.
        seed: of everything that is random.
        say: called with a line before each system.

    Yields:
        What was judged, one system after the other.
    """
    for number, system in enumerate(SYSTEMS, 1):
        say(f"[{number}/{len(SYSTEMS)}] {system.name}")
        yield judge_system(system, FULL if full else SMALL, seed)


def judge_system(system: System, size: Size, seed: int) -> Judged:
    """Run the attacks on one planted system, write its run folder, and judge it from there as a user's is judged."""
    try:
        found = _verdict(system, size, seed)
    except AtmError as error:
        return Judged(system.name, system.expected, REFUSED, str(error))
    return Judged(system.name, system.expected, found.level, found.sentence)


@dataclass(frozen=True)
class FalseAlarms:
    """How often a system that leaks nothing was said to leak.

    Attributes:
        system: its name.
        alarms: how many seeds of all, with Wilson interval.
        p_value: that alarms are no more frequent than the level of the tests, corrected for all systems (Holm).
        bias: by how much choosing the best of all attacks for each picture raises mean leakage above the best alone.
    """

    system: str
    alarms: Interval
    p_value: float
    bias: float

    @property
    def right(self) -> bool:
        """Whether alarms are not surely more frequent than one in twenty."""
        return self.p_value >= SURE


def false_alarms(seeds: int, say: Callable[[str], None] = lambda line: None) -> list[FalseAlarms]:
    """Judge every system that leaks nothing under so many seeds.

    Args:
        seeds: at least 1.
        say: called with a line before each judgement.
    """
    counts, biases = [], []
    for number, system in enumerate(NULL, 1):
        judged = []
        for seed in range(seeds):
            say(f"[{number}/{len(NULL)}] {system.name}, seed {seed}")
            judged.append(_verdict(system, SMALL, seed))
        counts.append(sum(verdict.level in (LEAKS, IN_PART) for verdict in judged))
        biases.append(sum(map(_bias, judged)) / seeds)
    corrected = holm([rate_p_value(count, seeds, SURE) for count in counts])
    return [
        FalseAlarms(system.name, wilson(count, seeds), p_value, bias)
        for system, count, p_value, bias in zip(NULL, counts, corrected, biases, strict=True)
    ]


class _Numbers(RunFolder):
    """A run folder without pictures, which nobody looks at here."""

    def save_images(self, name: str, images: Tensor, signal: Signal) -> None:
        """Save nothing."""


def _verdict(system: System, size: Size, seed: int) -> Verdict:
    images = min(size.images, system.images or size.images)
    pictures = system.pictures(images, size.auxiliary, seed)
    config = AttackConfig(
        policies=(system.policy.name,), attacks=system.attacks, victim="planted", data=pictures.victims.name,
        images=images, auxiliary=size.auxiliary, seed=seed, repeats=size.repeats, budget=None, quick=system.quick,
    )  # fmt: skip
    setting = _setting(system, config, pictures)
    with tempfile.TemporaryDirectory() as folder:
        evaluate(setting, _Numbers(folder, config.as_dict()), config, lambda line: None)
        return judge(Run.read(folder), system.policy.name)


def _bias(verdict: Verdict) -> float:
    run, policy = verdict.run, verdict.policy
    single = max(float(scores.mean()) for a in run.attacks if (scores := run.values(policy, a, run.measure)).numel())
    return float(run.worst_case(policy).mean()) - single


def _setting(system: System, config: AttackConfig, pictures: Splits) -> Setting:
    link = system.link()
    named = system.recogniser
    recogniser = None if named is None else Recogniser(named, "", load_victim(named).encoder)
    recognition = None if recogniser is None else Recognition(recogniser, pictures)
    signal, blind = link.signal, BASELINES[link.signal.name].blind
    about = {
        "kind": "attack",
        "config": config.as_dict(),
        "victim": {
            "name": system.name,
            "digest": "",
            "layers": 2,
            "width": link.encoder.width,
            "patches": signal.places,
        },
        "signal": signal.name,
        "recogniser": None if recognition is None else recognition.about,
        "codec": {},
        "wire": {system.policy.name: link.wire.as_rows()},
        "channel": str(link.channel),
        "threat": system.threat.as_dict(),
        "threat_in_words": system.threat.describe(),
        "data": {
            "name": pictures.victims.name,
            "victims": len(pictures.victims),
            "auxiliary": len(pictures.auxiliary) + len(pictures.validation),
            "victims_digest": pictures.victims.digest,
        },
        "policies": [system.policy.as_dict()],
        "attacks": [*blind, *system.attacks],
        "denied": [],
        "inferences": list(INFERENCES if system.labels else ()),
        "chance": harm.chance(pictures.victims.labels),
        "task": "accuracy",
        "proven": {} if system.least_error is None else {"of the conditional mean": system.least_error},
    }
    return Setting(
        links={system.policy.device_layers: link},
        policies=[system.policy],
        attacks=[*blind, *system.attacks],
        denied=[],
        threat=system.threat,
        data=pictures,
        answers=Answers(pictures.victims.labels, "accuracy"),
        about=about,
        create=parts.create,
        metrics=tuple(name for name in metrics_of(signal.name) if name not in NETWORKS),
        inferences=INFERENCES if system.labels else (),
        recognition=recognition,
    )
