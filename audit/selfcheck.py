"""The evaluator evaluated: planted systems whose right verdict is known, judged as every other system is judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from atm.data import Splits
from atm.errors import AtmError
from atm.threat import ThreatModel
from attacks import FLOORS
from audit import harm
from audit.evaluate import evaluate
from audit.folder import RunFolder
from audit.planted import parts
from audit.planted.encoders import PATCHES, WIDTH
from audit.planted.systems import BEATS_BOUND, POLICY, REFUSED, SYSTEMS, System
from audit.setting import AttackConfig, Setting
from privacy_metrics.statistics import bootstrap_mean
from reports.harm import WORDS, rates
from reports.level import LEAKS
from reports.run import Run
from reports.verdict import judge

THREAT = ThreatModel("server")
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
    """Run the attacks on one planted system, write its run folder, and judge it from there."""
    images = min(size.images, system.images or size.images)
    pictures = system.pictures(images, size.auxiliary, seed)
    config = AttackConfig(
        policies=(POLICY.name,), attacks=system.attacks, victim="planted", data=pictures.victims.name,
        images=images, auxiliary=size.auxiliary, seed=seed, repeats=size.repeats,
    )  # fmt: skip
    setting = _setting(system, config, pictures)
    with tempfile.TemporaryDirectory() as folder:
        try:
            evaluate(setting, RunFolder(folder, asdict(config)), config, lambda line: None)
        except AtmError as error:
            return Judged(system.name, system.expected, REFUSED, str(error))
        run = Run.read(folder)
    found = judge(run, POLICY.name)
    verdict, why = found.level, "; ".join(map(str, found.flags)) or found.sentence
    read = [rate for rate in rates(run) if rate.words == WORDS["label_correct"] and rate.above]
    if read and verdict != LEAKS:
        verdict = LEAKS
        why = f"{read[0].inference} reads {read[0].rate.estimate:.0%} of labels, {read[0].chance:.0%} by chance"
    if system.least_error is not None and (beaten := _beats(run, system.least_error)):
        verdict, why = BEATS_BOUND, beaten
    return Judged(system.name, system.expected, verdict, why)


def _beats(run: Run, least: float) -> str:
    """Which attack has an error that is surely below the least one that is possible; empty if none has."""
    for attack in run.attacks:
        error = bootstrap_mean((10 ** (-run.repeated(POLICY.name, attack, "psnr") / 10)).mean(0))
        if error.high < least:
            return f"{attack} has a mean squared error of {error.estimate:.5f}, but {least:.5f} is the least possible"
    return ""


def _setting(system: System, config: AttackConfig, pictures: Splits) -> Setting:
    link = system.link()
    about = {
        "kind": "attack",
        "config": asdict(config),
        "victim": {"name": system.name, "digest": "", "layers": 2, "width": WIDTH, "patches": PATCHES},
        "codec": {"name": link.codec.name, "symbols_per_token": link.codec.symbols_per_token, "digest": ""},
        "channel": str(link.channel),
        "threat": THREAT.as_dict(),
        "threat_in_words": THREAT.describe(),
        "data": {
            "name": pictures.victims.name,
            "victims": len(pictures.victims),
            "auxiliary": len(pictures.auxiliary) + len(pictures.validation),
            "victims_digest": pictures.victims.digest,
        },
        "policies": [POLICY.as_dict()],
        "attacks": [*FLOORS, *system.attacks],
        "denied": [],
        "inferences": list(INFERENCES if system.labels else ()),
        "chance": harm.chance(pictures.victims.labels),
        "task": "accuracy",
    }
    return Setting(
        link=link,
        policies=[POLICY],
        attacks=[*FLOORS, *system.attacks],
        denied=[],
        threat=THREAT,
        data=pictures,
        truth=pictures.victims.labels,
        task="accuracy",
        about=about,
        create=parts.create,
        metrics=("ssim", "psnr"),
        inferences=INFERENCES if system.labels else (),
    )
