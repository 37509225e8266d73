"""What choosing the policy while sending comes to, on a trace of SNR and load, beside each policy alone.

``python -m benchmarks.controller`` measures candidates (accuracy over SNR, symbols, leakage to the server by ridge
regression with the merge map) and replays ``benchmarks/trace.csv``; ``--json`` one object a line. The trace has two
columns, SNR in dB and room in symbols, a line for each frame: one that `atm device --json` recorded will do. The one
that is here is simulated: shadowing of 6 dB with an exponential correlation over 40 frames (Gudmundson 1991) around
10 dB, and a load that takes half the room for a third of the time; ``--write-trace`` makes it again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atm import channels
from atm.errors import AtmError
from attacks import available
from attacks.session import Campaign, Session
from audit.attack_config import AttackConfig
from audit.live.controller import Candidate, Controller, Moment, controlled, replay
from audit.setting import prepare
from benchmarks.command import Parser, positive, run
from benchmarks.rows import markdown, told
from privacy_metrics.similarity import ssim
from privacy_metrics.statistics import bootstrap_mean

TRACE = Path(__file__).with_name("trace.csv")
SNR = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
HEADINGS = ("chosen", "expected accuracy", "symbols", "too large", "leakage at most", "switches")
FRAMES, MEAN, SHADOWING, CORRELATION, ROOM = 600, 10.0, 6.0, 40.0, 2200


def simulated(seed: int = 0) -> list[Moment]:
    """The trace that is here."""
    chance = np.random.default_rng(seed)
    decay = np.exp(-1 / CORRELATION)
    level, moments = 0.0, []
    for number in range(FRAMES):
        level = decay * level + np.sqrt(1 - decay**2) * SHADOWING * chance.standard_normal()
        busy = FRAMES // 3 <= number < 2 * FRAMES // 3
        moments.append(Moment(round(MEAN + level, 1), ROOM // 2 if busy else ROOM))
    return moments


def read(path: Path) -> list[Moment]:
    """A trace from a file.

    Raises:
        AtmError: it cannot be read, or is no trace.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            found = [Moment(float(row["snr_db"]), float(row["room"])) for row in csv.DictReader(file)]
    except OSError as error:
        raise AtmError(f"{path} cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError):
        found = []
    if not found:
        raise AtmError(f"{path} is no trace: a CSV file with numbers in the columns snr_db and room")
    return found


def write(path: Path, trace: Sequence[Moment]) -> None:
    """A trace as a file."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["snr_db", "room"])
        lines.writerows((f"{moment.snr_db:g}", f"{moment.room:g}") for moment in trace)


def candidates(config: AttackConfig) -> Iterator[Candidate]:
    """Each policy of a configuration, measured."""
    setting = prepare(config)
    originals = setting.data.victims.images
    for policy in setting.policies:
        link = setting.link(policy)
        encoded = link.encode(originals)
        accuracy = []
        for snr in SNR:
            sent = link.over(channels.parse(f"awgn:{snr}")).transmit(encoded)
            accuracy.append(float(setting.answers.correct(link, sent).mean()))
        session = Session(link, setting.threat, setting.data.hers, campaign=Campaign(0, setting.secret(config.seed)))
        sent, seen, _ = session.victims(encoded)
        leaked = ssim(session.fitted(available()["ridge"]).reconstruct(seen), originals)
        symbols = float(sent.symbols.double().mean())
        yield Candidate(policy.name, SNR, tuple(accuracy), symbols, bootstrap_mean(leaked).high)


def compared(
    measured: Sequence[Candidate], trace: Sequence[Moment], floors: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """A row for each policy alone, and one for the controller at each floor that some policy meets."""
    for each in measured:
        yield {"chosen": f"always {each.name}", **asdict(replay(trace, [each] * len(trace)))}
    for floor in floors:
        if any(each.leakage <= floor for each in measured):
            ways = {"controller": Controller(measured, floor), "no hysteresis": Controller(measured, floor, 0.0, 1)}
            for name, controller in ways.items():
                found = replay(trace, controlled(controller, trace))
                yield {"chosen": f"{name}, floor {floor:g}", **asdict(found)}


def table(found: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        [
            row["chosen"], f"{row['accuracy']:.3f}", f"{row['symbols']:.0f}", f"{row['too_large']:.0%}",
            f"{row['leakage']:.3f}", row["switches"],
        ]
        for row in found
    ]  # fmt: skip
    return markdown(HEADINGS, lines)


def main() -> None:
    """The command line."""
    parser = Parser("controller", __doc__)
    parser.add_argument("--victim", default="vit_photos", help="as in atm attack")
    parser.add_argument("--data", default="photos", help="as in atm attack")
    parser.add_argument("--codec", default="auto", help="as in atm attack")
    parser.add_argument(
        "--policy", nargs="+", default=["none", "moderate", "aggressive"], help="merging policies to choose from"
    )
    parser.add_argument("--images", type=positive, default=100, help="pictures to send and attack")
    parser.add_argument("--auxiliary", type=positive, default=400, help="the adversary's own pictures, at most")
    parser.add_argument(
        "--floor", type=float, nargs="+", default=[1.0, 0.6, 0.5], help="leakage that a chosen policy may have, at most"
    )
    parser.add_argument("--trace", type=Path, default=TRACE, help="CSV file with the columns snr_db and room")
    parser.add_argument("--write-trace", action="store_true", help="make the trace again, and nothing else")
    parser.add_argument("--device", default="auto", help="where tensors are computed, as in atm attack")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    if asked.write_trace:
        write(asked.trace, simulated())
        return
    config = AttackConfig(
        victim=asked.victim, data=asked.data, codec=asked.codec, policies=tuple(asked.policy), attacks=("ridge",),
        images=asked.images, auxiliary=asked.auxiliary, device=asked.device,
    )  # fmt: skip
    trace = read(asked.trace)
    with torch.no_grad():
        measured = list(candidates(config))
    rows = list(compared(measured, trace, asked.floor))
    if asked.json:
        told([*map(asdict, measured), *rows], True)
        return
    for each in measured:
        print(f"{each.name}: accuracy {each.accuracy}, {each.symbols:.0f} symbols, leakage up to {each.leakage:.3f}")
    print(table(rows))


if __name__ == "__main__":
    run(main)
