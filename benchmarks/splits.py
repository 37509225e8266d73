"""A victim cut after several of its layers, under several policies: accuracy, cost, and what leaks.

``python -m benchmarks.splits --json --victim vit_small_patch14_dinov2 --weights dinov2.safetensors --image-size 224
--head head.safetensors --data test.tar --auxiliary-data train.tar > splits.jsonl``, and ``python -m benchmarks.splits
--rows splits.jsonl`` for the table of what one or several runs wrote.

Policies are calibrated on the adversary's pictures to save a part of the whole encoder's FLOPs (``atm calibrate``), and
then cut. All cells are one run of ``atm attack``, and leakage and verdict are those of its report.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from audit import AttackConfig, attack
from audit.setting import prepare
from audit.train import policy
from privacy_metrics.statistics import bootstrap_mean
from reports.recognition import Evidence, evidence
from reports.verdict import verdicts

HEADINGS = (
    "order",
    "defence",
    "saves",
    "exit",
    "accuracy",
    "GFLOPs",
    "tokens",
    "leakage (SSIM)",
    "recognised",
    "blind",
    "verdict",
)


def rows(config: AttackConfig, exits: list[int], saves: list[float], out: Path, say: Any) -> Iterator[dict[str, Any]]:
    """A row for each cell and attack, and one of the worst case for each cell."""
    victim = prepare(config).victim
    assert victim is not None
    files, cells = [], {}
    for part, layer in product(saves, exits):
        made = policy(victim, config.auxiliary_data or config.data, part, 64, layer, config.seed)
        files.append(str(out / f"{made.name}.yaml"))
        made.write(files[-1])
        cells[made.name] = part, layer
    asked = AttackConfig(**{**config.as_dict(), "policies": tuple(files)})
    run = attack(asked, out / "run", resume=(out / "run").exists(), say=say)
    judged = {each.policy: each for each in verdicts(run)}
    table = pd.read_csv(run.folder / "seconds.csv")
    seconds = table.groupby(["policy", "attack"])[["fit", "reconstruct"]].sum().sum(axis=1).to_dict()
    for name, (part, layer) in cells.items():
        order = "known" if "order" in run.about["threat"]["knows"] else "hidden"
        about = {"victim": config.victim, "exit_layer": layer, "order": order, "policy": name, "saves": part}
        about["defense"] = config.defense or "none"
        about["auxiliary"] = run.about["data"]["auxiliary"]
        for each in run.attacks:
            found = {
                m: float(run.values(name, each, m).mean())
                for m in ("ssim", "psnr", "lpips")
                if m in run.about["metrics"]
            }
            yield {**about, "attack": each, "seconds": round(seconds[name, each], 1), **found}
        worst = bootstrap_mean(run.worst_case(name))
        yield {
            **about,
            "attack": "worst case",
            "ssim": worst.estimate,
            "blind": float(run.worst_case(name, blind_only=True).mean()),
            "ssim_low": worst.low,
            "ssim_high": worst.high,
            "verdict": judged[name].level,
            "recognised": judged[name].recognisable.estimate,
            "images": judged[name].recognisable.n,
            **_seen(evidence(run, name)),
            **{n: float(run.per_image(name, n).double().mean()) for n in ("correct", "gflops", "tokens", "symbols")},
        }


def _seen(found: Evidence | None) -> dict[str, Any]:
    """By what pictures were recognised, where a recogniser looked."""
    if found is None:
        return {}
    shares = {"by_ssim": found.by_score, "picked": found.by_recogniser, "first": found.first}
    blind = {f"{a} first": share.estimate for a, share in found.blind.items()}
    return {name: share.estimate for name, share in shares.items()} | blind


def table(found: list[dict[str, Any]]) -> str:
    """Markdown, a row for each cell."""
    lines = ["| victim | " + " | ".join(HEADINGS) + " |", "| --- |" + " --- |" * len(HEADINGS)]
    for row in (row for row in found if row["attack"] == "worst case"):
        cells = [
            row["victim"], row["order"], row["defense"],
            f"{row['saves']:.0%}", str(row["exit_layer"]), f"{row['correct']:.0%}",
            f"{row['gflops']:.2f}", f"{row['tokens']:.0f}",
            f"{row['ssim']:.3f} [{row['ssim_low']:.3f}, {row['ssim_high']:.3f}]",
            f"{row['recognised'] * row['images']:.0f} of {row['images']}" + _by(row), f"{row['blind']:.3f}",
            row["verdict"],
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by(row: dict[str, Any]) -> str:
    """How many by SSIM and how many picked out by a recogniser, where one looked."""
    if "picked" not in row:
        return ""
    score, picked = (row[name] * row["images"] for name in ("by_ssim", "picked"))
    return f" (SSIM {score:.0f}, recogniser {picked:.0f})"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--weights", "--image-size", "--head", "--auxiliary-data", "--recogniser", "--recogniser-weights"):
        parser.add_argument(option)
    parser.add_argument("--victim", default="vit_photos")
    parser.add_argument("--data", default="photos")
    parser.add_argument("--codec", default="uncoded")
    parser.add_argument("--channel", default="awgn:10")
    parser.add_argument("--threat", default="server")
    parser.add_argument("--defense")
    parser.add_argument("--exits", type=int, nargs="+", default=[3, 6, 9, 12])
    parser.add_argument("--saves", type=float, nargs="+", default=[0.0, 0.3, 0.5])
    parser.add_argument("--attack", nargs="+", default=["ridge"])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--auxiliary", type=int, default=300)
    parser.add_argument("--budget", type=float, default=600.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="keep the run in this folder; one that is there goes on")
    parser.add_argument("--rows", type=Path, nargs="+", help="JSON lines to make the table of")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    if asked.rows:
        print(table([json.loads(line) for path in asked.rows for line in path.read_text().splitlines()]))
        return
    fields = {
        name: getattr(asked, name)
        for name in (
            "weights",
            "image_size",
            "head",
            "auxiliary_data",
            "victim",
            "data",
            "codec",
            "channel",
            "threat",
            "defense",
            "recogniser",
            "recogniser_weights",
        )
    }
    sizes = {"images": asked.images, "auxiliary": asked.auxiliary, "budget": asked.budget or None}
    config = AttackConfig(**fields, **sizes, policies=("none",), attacks=tuple(asked.attack), device=asked.device)
    found = []
    with TemporaryDirectory() as folder:
        out = asked.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        for row in rows(config, asked.exits, asked.saves, out, lambda line: None):
            found.append(row)
            if asked.json:
                print(json.dumps(row), flush=True)
    if not asked.json:
        print(table(found))


if __name__ == "__main__":
    main()
