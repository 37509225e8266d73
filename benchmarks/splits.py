"""A victim cut after several of its layers, under several policies: accuracy, cost, and what leaks.

``python -m benchmarks.splits --json --victim vit_small_patch14_dinov2 --weights dinov2.safetensors --image-size 224
--head head.safetensors --data test.tar --auxiliary-data train.tar > splits.jsonl``, and ``python -m benchmarks.splits
--rows splits.jsonl`` for the table of what one or several runs wrote.

Policies are calibrated on the adversary's pictures to save a part of the whole encoder's FLOPs (``atm calibrate``), and
then cut. All cells of a threat model are one run of ``atm attack``, and leakage and verdict are those of its report. On
a large victim most of the time goes into its answers and into provable bounds, which ``--leakage-only`` leaves out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.threat import load
from atm.victims import Answers
from audit import AttackConfig, attack
from audit.evaluate import evaluate
from audit.folder import RunFolder
from audit.setting import prepare
from audit.suite import choose_attacks
from audit.target import target
from audit.train import policy
from benchmarks.command import SYSTEM, Parser, add_system, fraction, positive, run
from benchmarks.rows import markdown, show, table_of
from privacy_metrics.statistics import bootstrap_mean
from reports.recognition import Evidence, evidence
from reports.run import Run
from reports.verdict import verdicts

METRICS = ("ssim", "psnr", "lpips", "placed", "placed_blindly")  # the last two where tokens have to be placed
OPTIONS = (
    *SYSTEM, "auxiliary_data", "codec", "channel", "defense", "recogniser", "recogniser_weights", "placer",
)  # fmt: skip
CALIBRATED_BY = ("victim", "weights", "image_size", "data", "auxiliary_data")
HEADINGS = (
    "victim",
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


def rows(cells: dict[str, tuple[float, int]], run: Run) -> Iterator[dict[str, Any]]:
    """A row for each attack on each cell that is finished, and one of the worst case for each.

    Args:
        cells: what each policy saves, and after which layer it sends; others of the run are left out.
        run: of all of them.
    """
    judged = {each.policy: each for each in verdicts(run)}
    seconds = run.seconds.groupby(["policy", "attack"])[["fit", "reconstruct"]].sum().sum(axis=1).to_dict()
    asked = run.about["config"]
    for name in (each for each in run.policies if each in cells):
        part, layer = cells[name]
        done = [each for each in run.about["attacks"] if run.values(name, each, run.measure).numel()]
        if done != run.about["attacks"]:
            continue
        order = "known" if "order" in run.about["threat"]["knows"] else "hidden"
        about = {"victim": asked["victim"], "exit_layer": layer, "order": order, "policy": name, "saves": part}
        about["defense"] = asked["defense"] or "none"
        about["auxiliary"] = run.about["data"]["auxiliary"]
        for each in done:
            scores = {m: run.values(name, each, m) for m in METRICS}
            found = {m: float(values.mean()) for m, values in scores.items() if values.numel()}
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


def policies(config: AttackConfig, asked: argparse.Namespace) -> Iterator[MergePolicy]:
    """A policy for each exit and saving; all exits of a saving share its thresholds."""
    victim = target(config, config.policies).victim
    for layer in asked.exits:  # what cannot be is told before anything is calibrated
        if layer > victim.encoder.depth:
            raise AtmError(f"--exits {layer}: victim {victim.name!r} has {victim.encoder.depth} layers")
    for threat in asked.threat:
        choose_attacks(config.attacks, load(threat), victim.encoder.signal.name)
    whole = [policy(victim, config.auxiliary_data or config.data, part, 64, None, config.seed) for part in asked.saves]
    for layer, made in product(asked.exits, whole):
        yield replace(made, exit_layer=layer, name=f"{made.name}-exit-{layer}")


def measured(config: AttackConfig, out: Path, leakage_only: bool) -> Run:
    """The run in a folder, gone on with where one is there."""
    if not leakage_only:
        return attack(config, out, resume=out.exists())
    setting = replace(prepare(config), answers=Answers(None, None))
    with RunFolder(out, config.as_dict(), resume=out.exists()) as folder:
        evaluate(setting, folder, config, lambda line: None)
    return Run.read(out)


def _seen(found: Evidence | None) -> dict[str, Any]:
    """By what pictures were recognised, where a recogniser looked."""
    if found is None:
        return {}
    shares = {"by_ssim": found.by_score, "picked": found.by_recogniser, "first": found.first}
    blind = {f"{a} first": share.estimate for a, share in found.blind.items()}
    return {name: share.estimate for name, share in shares.items()} | blind


def table(found: list[dict[str, Any]]) -> str:
    """Markdown, a row for each cell."""
    lines = []
    for row in (row for row in found if row["attack"] == "worst case"):
        cells = [
            row["victim"], row["order"], row["defense"],
            f"{row['saves']:.0%}", str(row["exit_layer"]), _share(row["correct"]),
            f"{row['gflops']:.2f}", f"{row['tokens']:.0f}",
            f"{row['ssim']:.3f} [{row['ssim_low']:.3f}, {row['ssim_high']:.3f}]",
            f"{row['recognised'] * row['images']:.0f} of {row['images']}" + _by(row), f"{row['blind']:.3f}",
            row["verdict"],
        ]  # fmt: skip
        lines.append(cells)
    return markdown(HEADINGS, lines)


def _share(value: float) -> str:
    """As per cent, and nothing where it was not measured."""
    return "" if math.isnan(value) else f"{value:.0%}"


def _by(row: dict[str, Any]) -> str:
    """How many by SSIM and how many picked out by a recogniser, where one looked."""
    if "picked" not in row:
        return ""
    score, picked = (row[name] * row["images"] for name in ("by_ssim", "picked"))
    return f" (SSIM {score:.0f}, recogniser {picked:.0f})"


def main() -> None:
    """The command line."""
    parser = Parser("splits", __doc__)
    add_system(parser)
    parser.add_argument("--auxiliary-data", help="the adversary's pictures; default: others of --data")
    parser.add_argument("--codec", default="uncoded", help="as in atm attack")
    parser.add_argument("--channel", default="awgn:10", help="as in atm attack")
    parser.add_argument("--threat", nargs="+", default=["server"], help="names of threat models, a run for each")
    parser.add_argument("--defense", help="of the tokens, as in atm attack; default: none")
    parser.add_argument(
        "--exits", type=positive, nargs="+", default=[2, 4, 6], help="layers after which tokens are sent"
    )
    parser.add_argument(
        "--saves",
        type=fraction,
        nargs="+",
        default=[0.0, 0.3, 0.5],
        help="parts of the encoder's FLOPs to save",
    )
    parser.add_argument("--attack", nargs="+", default=["ridge"], help="attacks by name")
    parser.add_argument("--recogniser", help="pretrained model that looks at what is rebuilt, as in atm attack")
    parser.add_argument("--recogniser-weights", help="safetensors file with its weights")
    parser.add_argument("--placer", help="file of atm train placer, from which attacks on hidden order go on")
    parser.add_argument("--images", type=positive, default=100, help="pictures to attack")
    parser.add_argument("--auxiliary", type=positive, default=300, help="the adversary's own pictures, at most")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds per policy for all attacks; 0: no limit")
    parser.add_argument("--device", default="auto", help="where tensors are computed, as in atm attack")
    parser.add_argument("--out", type=Path, help="keep the runs in this folder; those that are there go on")
    parser.add_argument("--leakage-only", action="store_true", help="neither accuracy nor provable bounds")
    parser.add_argument("--finished", action="store_true", help="measure nothing: what is finished in --out")
    parser.add_argument("--rows", type=Path, nargs="+", help="JSON lines to make the table of")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    if asked.rows:
        print(table_of(asked.rows, table))
        return
    with TemporaryDirectory() as folder:
        show(asked_for(asked, asked.out or Path(folder)), asked.json, table)


def asked_for(asked: argparse.Namespace, out: Path) -> Iterator[dict[str, Any]]:
    """Rows of one threat model after the other; policies and runs are kept in a folder."""
    same = {name: getattr(asked, name) for name in OPTIONS}
    sizes = {"images": asked.images, "auxiliary": asked.auxiliary, "budget": asked.budget or None}
    plain = AttackConfig(**same, **sizes, policies=("none",), attacks=tuple(asked.attack), device=asked.device)
    files, cells = [], dict[str, tuple[float, int]]()
    out.mkdir(parents=True, exist_ok=True)
    for layer, part in product(asked.exits, asked.saves):
        name = f"saves-{part * 100:g}-exit-{layer}"
        files.append(out / f"{name}.yaml")
        cells[name] = part, layer
    if not asked.finished:
        calibrated(plain, asked, out, files)
    for threat in asked.threat:
        config = replace(plain, threat=threat, policies=tuple(map(str, files)))
        folder = out / threat.replace(":", "-")
        yield from rows(cells, Run.read(folder) if asked.finished else measured(config, folder, asked.leakage_only))


def calibrated(config: AttackConfig, asked: argparse.Namespace, out: Path, files: list[Path]) -> None:
    """See that the policies are in a folder, calibrated for this victim on these pictures."""
    note, system = out / "calibrated.json", {name: getattr(asked, name) for name in CALIBRATED_BY}
    if note.exists() and json.loads(note.read_text()) != system:
        raise AtmError(f"policies in {out} were calibrated for another victim or data; give another --out")
    if not all(file.exists() for file in files):
        for made in policies(config, asked):
            made.write(out / f"{made.name}.yaml")
        note.write_text(json.dumps(system))


if __name__ == "__main__":
    run(main)
