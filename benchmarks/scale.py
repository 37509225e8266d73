"""Seconds and memory of one ``atm attack`` as the adversary's pictures become more.

``python -m benchmarks.scale --json --victim vit_small_patch14_dinov2 --weights dinov2.safetensors --image-size 224
--data test.tar --auxiliary-data train.tar --auxiliary 500 1000 2000`` runs the command once for each number of
pictures, in a process of its own, and prints a row of each. ``peak_rss_bytes`` is the most memory that the process
held at one time, as the operating system counts it: mapped files are in it, what the disk's cache holds is not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from atm.errors import AtmError
from benchmarks.command import Parser, positive, run
from benchmarks.rows import stream

COLUMNS = ("victim", "image_size", "auxiliary", "policies", "attacks", "seconds", "peak_rss_bytes", "device")


def rows(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each number of auxiliary pictures."""
    for auxiliary in asked.auxiliary:
        with TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            began = time.perf_counter()
            peak = _peak(_command(asked, auxiliary, out))
            seconds = time.perf_counter() - began
            about = json.loads((out / "run.json").read_text(encoding="utf-8"))
        yield {
            "victim": asked.victim,
            "image_size": asked.image_size,
            "auxiliary": about["data"]["auxiliary"],
            "policies": len(about["policies"]),
            "attacks": about["attacks"],
            "seconds": round(seconds, 1),
            "peak_rss_bytes": peak,
            "device": about["device"],
        }


def _command(asked: argparse.Namespace, auxiliary: int, out: Path) -> list[str]:
    words = [sys.executable, "-m", "atm", "attack", "--victim", asked.victim, "--out", str(out)]
    words += ["--images", str(asked.images), "--auxiliary", str(auxiliary), "--device", asked.device]
    words += ["--budget", str(asked.budget)]
    for option in ("weights", "image_size", "data", "auxiliary_data", "head", "codec"):
        value = getattr(asked, option)
        words += [] if value is None else [f"--{option.replace('_', '-')}", value]
    words += [word for policy in asked.policy for word in ("--policy", policy)]
    return words + [word for attack in asked.attack for word in ("--attack", attack)]


def _peak(command: list[str]) -> int:
    """Bytes that a command held at most; where it failed and said why, this process ends with its exit code."""
    child = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        raise AtmError(f"signal {-code} ended {' '.join(command)}")
    if code:
        sys.exit(code)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """The command line."""
    parser = Parser("scale", __doc__)
    parser.add_argument("--victim", default="vit_photos", help="as in atm attack, as are all but --auxiliary")
    parser.add_argument("--weights", help="safetensors file with the victim's weights")
    parser.add_argument("--image-size", help="side of its pictures in pixels, 224 or 224x160")
    parser.add_argument("--data", help="pictures to attack")
    parser.add_argument("--auxiliary-data", help="the adversary's pictures; default: others of --data")
    parser.add_argument("--head", help="file of atm train head, or probe")
    parser.add_argument("--codec", help="auto, uncoded, digital:SNR or a file")
    parser.add_argument("--images", type=positive, default=20, help="pictures to attack")
    parser.add_argument(
        "--auxiliary", type=positive, nargs="+", default=[500, 1000, 2000], help="numbers of the adversary's pictures"
    )
    parser.add_argument("--policy", nargs="+", default=["none", "uniform-0.8", "uniform-0.6"], help="merging policies")
    parser.add_argument("--attack", nargs="+", default=["ridge"], help="attacks by name")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds per policy for all attacks; 0: no limit")
    parser.add_argument("--device", default="auto", help="where tensors are computed")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    stream(rows(asked), asked.json, _shown)


def _shown(row: dict[str, Any]) -> str:
    attacks, peak = " ".join(row["attacks"]), f"{row['peak_rss_bytes'] / 2**30:.2f} GiB"
    shown = {**row, "attacks": attacks, "peak_rss_bytes": peak}
    return "  ".join(str(shown[name]) for name in COLUMNS)


if __name__ == "__main__":
    run(main)
