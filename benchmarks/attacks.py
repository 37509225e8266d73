"""Our attacks beside those that people use today: same victim, same images, same seconds.

``python -m benchmarks.attacks --json [--victim vit_cifar10 vit_photos --data cifar10_test.tar photos] > rows.jsonl``,
and ``python -m benchmarks.attacks --rows rows.jsonl`` for the tables of what one or several runs wrote.

For each threat model and policy the whole suite gets ``--budget`` seconds, shared by its attacks; then each peer
(``benchmarks/peers.py``) gets as much alone. From them each loop chooses its number of steps before the first one.
``standard`` is the suite's worst case, for each image the best of its attacks by that metric, as the evaluator takes
it; ``lead of the best`` compares the one attack of ours that is best on average with the one such peer. A peer that
needs what the threat model denies is left out. What a step costs is measured: run nothing else on the cores, and as
many runs side by side as there are cores, each with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from atm.errors import KnowledgeError
from attacks import Attack, require
from audit.attack_config import AttackConfig
from audit.evaluate import evaluate
from audit.folder import RunFolder
from audit.setting import Setting, prepare
from benchmarks.command import Parser, positive, run
from benchmarks.peers import PEERS
from benchmarks.rows import markdown, show, table_of

BETTER = {"psnr": "max", "ssim": "max", "lpips": "min"}
SUITE = "standard"
ALONE = ("victim", "threat", "policy", "attack", "seconds:", "PSNR:", "SSIM:", "LPIPS:")
LEADS = ("victim", "threat", "policy", "best peer", "standard leads by (dB):", "lead of the best:")
THREATS = ["server", "server-shuffled", "black-box", "eavesdropper:awgn:0"]


def rows_of(
    config: AttackConfig, peers: Sequence[str] | None = None, suite: bool = True
) -> Iterator[dict[str, object]]:
    """One row per attack on each policy: the suite's with its worst case, if asked for, and the peers'."""
    setting = replace(prepare(config), inferences=())
    for policy in setting.policies:
        alone = replace(setting, policies=[policy])
        if suite:
            yield from _measured(alone, config, policy.name, False)
        for name in PEERS if peers is None else peers:
            try:
                require(PEERS[name], setting.threat)
            except KnowledgeError:
                continue
            yield from _measured(replace(alone, attacks=[name], create=_peer), config, policy.name, True)


def _measured(setting: Setting, config: AttackConfig, policy: str, peer: bool) -> Iterator[dict[str, object]]:
    with TemporaryDirectory() as path, RunFolder(Path(path) / "run", asdict(config)) as folder:
        evaluate(setting, folder, config, lambda line: None)
        scores = pd.read_csv(folder.path / "scores.csv")
        seconds = pd.read_csv(folder.path / "seconds.csv").set_index("attack")[["fit", "reconstruct"]].sum(axis=1)
    about: dict[str, object] = {"victim": config.victim, "threat": config.threat, "policy": policy}

    def row(attack: str, took: float, of: pd.DataFrame) -> dict[str, object]:
        means = of.groupby("metric").value.mean()
        return {**about, "attack": attack, "peer": peer, "seconds": took, **{m: means.get(m, math.nan) for m in BETTER}}

    for attack in setting.attacks:
        yield row(attack, float(seconds[attack]), scores[scores.attack == attack])
    if not peer:
        by_image = scores.groupby(["metric", "image"]).value
        worst = pd.concat([by_image.agg(how).loc[[m]] for m, how in BETTER.items() if m in set(scores.metric)])
        yield row(SUITE, float(seconds.sum()), worst.reset_index())


def _peer(name: str) -> Attack:
    return PEERS[name]()


def table(rows: Sequence[dict[str, object]]) -> str:
    """As Markdown, with the suite's lead over the best peer in PSNR."""
    alone, leads = [], []
    for r in rows:
        name = f"{r['attack']} (peer)" if r["peer"] else r["attack"]
        figures = f"{r['seconds']:.0f}", f"{r['psnr']:.2f}", f"{r['ssim']:.3f}", f"{r['lpips']:.3f}"
        alone.append([r["victim"], r["threat"], r["policy"], name, *figures])
    frame = pd.DataFrame(rows)
    for (victim, threat, policy), group in frame.groupby(["victim", "threat", "policy"], sort=False):
        peers, ours = group[group.peer], group.set_index("attack").psnr
        if len(peers):
            best = peers.sort_values("psnr").iloc[-1]
            own = group[~group.peer & (group.attack != SUITE)].psnr.max()
            lead = f"{ours[SUITE] - best.psnr:+.2f}", f"{own - best.psnr:+.2f}"
            leads.append([victim, threat, policy, best.attack, *lead])
    return "\n\n".join([markdown(ALONE, alone), markdown(LEADS, leads)])


def overview(rows: Sequence[dict[str, object]], metric: str = "ssim") -> str:
    """One table per victim: attacks down, threat models and policies across."""
    frame, parts = pd.DataFrame(rows), []
    frame["attack"] = frame["attack"].where(~frame["peer"].astype(bool), frame["attack"] + " (peer)")
    for victim, group in frame.groupby("victim", sort=False):
        columns = list(dict.fromkeys(zip(group.threat, group.policy, strict=True)))
        lines = []
        for attack in sorted(group.attack.unique(), key=lambda name: (name == SUITE, name.endswith("(peer)"))):
            own = group[group.attack == attack].set_index(["threat", "policy"])[metric]
            cells = [f"{own[column]:.3f}".removeprefix("0") if column in own.index else "" for column in columns]
            lines.append([attack, *cells])
        parts.append(markdown([str(victim), *(f"{threat}, {policy}:" for threat, policy in columns)], lines))
    return "\n\n".join(parts)


def tables(rows: Sequence[dict[str, object]]) -> str:
    """The overview and what it is made of."""
    return "\n\n".join([overview(rows), table(rows)])


def main() -> None:
    """The command line."""
    parser = Parser("attacks", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line, as they come")
    parser.add_argument("--victim", nargs="+", default=["vit_photos"], help="as in atm attack; one or several")
    parser.add_argument("--data", nargs="+", default=["photos"], help="as in atm attack; one for each victim")
    parser.add_argument("--threat", nargs="+", default=THREATS, help="names of threat models")
    parser.add_argument(
        "--peer", nargs="*", choices=list(PEERS), default=list(PEERS), help="names of peers; none: none"
    )
    parser.add_argument("--only-peers", action="store_true", help="leave the suite out")
    parser.add_argument("--policy", nargs="+", default=["none", "moderate", "aggressive"], help="merging policies")
    parser.add_argument("--codec", default="auto", help="as in atm attack")
    parser.add_argument("--channel", default="awgn:10", help="as in atm attack")
    parser.add_argument("--images", type=positive, default=100, help="pictures to attack")
    parser.add_argument("--auxiliary", type=positive, default=4000, help="the adversary's own pictures, at most")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds for the suite, and for each peer")
    parser.add_argument("--quick", action="store_true", help="our attacks take few steps")
    parser.add_argument("--rows", nargs="+", type=Path, help="measure nothing; tables of rows written before")
    asked = parser.parse_args()
    if asked.rows:
        print(table_of(asked.rows, tables))
        return
    if len(asked.victim) != len(asked.data):
        parser.error(f"--victim names {len(asked.victim)} and --data {len(asked.data)}: give a --data for each victim")
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    configs = [
        AttackConfig(
            policies=tuple(asked.policy),
            victim=victim,
            data=data,
            codec=asked.codec,
            channel=asked.channel,
            threat=threat,
            images=asked.images,
            auxiliary=asked.auxiliary,
            budget=asked.budget,
            quick=asked.quick,
        )
        for (victim, data), threat in product(zip(asked.victim, asked.data, strict=True), asked.threat)
    ]
    rows = (row for config in configs for row in rows_of(config, asked.peer, not asked.only_peers))
    show(rows, asked.json, tables)


if __name__ == "__main__":
    run(main)
