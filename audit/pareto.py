"""The search for policies with good accuracy, compute, tokens and privacy at once.

A Gaussian process for each objective over the per-layer thresholds, and BoTorch's ``qLogNEHVI`` to choose the next
policy (arXiv 2310.20708). Leakage is that of `ridge` alone, which is cheap enough to fit for every policy; attack the
policies of the front with the full suite before believing it.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf
from botorch.utils.multi_objective import is_non_dominated
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from gpytorch.mlls import SumMarginalLogLikelihood
from torch import Tensor
from torch.quasirandom import SobolEngine

from atm.errors import AtmError
from atm.policy import MergePolicy
from attacks.ridge import Ridge
from audit.evaluate import AttackConfig, RememberingLink, Setting, prepare
from privacy_metrics import ssim

# Every objective, and whether more of it is better.
OBJECTIVES = {"accuracy": 1.0, "gflops": -1.0, "tokens": -1.0, "leakage": -1.0}


@dataclass(frozen=True)
class SearchConfig:
    """What ``atm search`` is asked for; see `audit.evaluate.AttackConfig` for what they share.

    Attributes:
        evals: policies to evaluate.
        lowest: lowest threshold of any layer.
    """

    victim: str = "vit_photos"
    data: str = "photos"
    channel: str = "awgn:10"
    threat: str = "server"
    evals: int = 32
    images: int = 100
    auxiliary: int = 1000
    lowest: float = 0.5
    seed: int = 0

    def attack(self) -> AttackConfig:
        """The evaluation of one policy."""
        shared = {k: v for k, v in asdict(self).items() if k not in ("evals", "lowest")}
        return AttackConfig(policies=("none",), attacks=("ridge",), **shared)


def search(
    config: SearchConfig,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Evaluate policies, each on disk before the next begins; write the front and give all trials.

    Writes ``trials.jsonl`` with a line per policy, ``front.csv``, and the front's policies as YAML files.

    Raises:
        AtmError: bad configuration, or a folder that holds another search.
    """
    if config.evals < 1 or not 0 <= config.lowest < 1:
        raise AtmError(f"--evals {config.evals} must be at least 1, and --lowest {config.lowest} in [0, 1)")
    folder = Path(out)
    trials = _open(folder, config, resume, force)
    setting = prepare(config.attack())
    depth = setting.link.encoder.depth
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "search.json", json.dumps(asdict(config), indent=2))
    _replace(folder / "trials.jsonl", "".join(json.dumps(trial) + "\n" for trial in trials))
    with open(folder / "trials.jsonl", "a", encoding="utf-8") as file:
        for number in range(len(trials), config.evals):
            thresholds = propose(trials, number, depth, config)
            policy = MergePolicy(tuple(thresholds), name=f"trial-{number:04d}")
            trials.append({"trial": number, "thresholds": thresholds, **measure(setting, policy)})
            file.write(json.dumps(trials[-1]) + "\n")
            file.flush()
            os.fsync(file.fileno())
            shown = ", ".join(f"{name} {trials[-1][name]:.3f}" for name in OBJECTIVES)
            say(f"[{number + 1}/{config.evals}] {shown}")
    table = pd.DataFrame(trials)
    table["front"] = is_non_dominated(_outcomes(trials)).tolist()
    _replace(folder / "front.csv", table[table.front].drop(columns="front").to_csv(index=False))
    for _, row in table[table.front].iterrows():
        name = f"trial-{row.trial:04d}"
        MergePolicy(tuple(row.thresholds), name=name).write(folder / f"{name}.yaml")
    return table


def measure(setting: Setting, policy: MergePolicy) -> dict[str, float]:
    """The objectives of one policy."""
    link = RememberingLink.around(setting.link.with_policy(policy))
    originals, auxiliary = setting.data.victims.images, setting.data.auxiliary.images
    transmission = link.transmit(originals, 1)
    torch.manual_seed(0)
    attack = Ridge()
    attack.fit(link, setting.threat, auxiliary)
    rebuilt = attack.reconstruct(setting.threat.observe(transmission, link, 2))
    return {
        "accuracy": float((transmission.logits.argmax(-1) == setting.truth).float().mean()),
        "gflops": float(transmission.flops.mean()) / 1e9,
        "tokens": float(transmission.sent.lengths.float().mean()),
        "leakage": float(ssim(rebuilt, originals).mean()),
    }


def propose(trials: list[dict[str, Any]], number: int, depth: int, config: SearchConfig) -> list[float]:
    """Thresholds of trial ``number``; depends only on the trials before it and the seed, so a resumed search agrees."""
    first = min(2 * (depth + 1), max(config.evals // 2, 1))
    if number == 0:
        return [1.0] * depth  # the unmerged victim anchors one end of the front
    if number < first:
        unit = SobolEngine(depth, scramble=True, seed=config.seed).draw(first)[number]
    else:
        unit = _by_hypervolume(trials, depth, config.seed + number, config.lowest)
    return [round(float(t), 4) for t in config.lowest + unit * (1 - config.lowest)]


def _by_hypervolume(trials: list[dict[str, Any]], depth: int, seed: int, lowest: float) -> Tensor:
    thresholds = torch.tensor([trial["thresholds"] for trial in trials], dtype=torch.float64)
    x, y = ((thresholds - lowest) / (1 - lowest)).clamp(0, 1), _outcomes(trials)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        models = [SingleTaskGP(x, y[:, [i]], outcome_transform=Standardize(1)) for i in range(y.shape[1])]
        model = ModelListGP(*models)
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model, infer_reference_point(y[is_non_dominated(y)]).tolist(), x, prune_baseline=True
        )
        bounds = torch.stack([torch.zeros(depth), torch.ones(depth)]).double()
        chosen, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=4, raw_samples=128)
    return chosen[0]


def _outcomes(trials: list[dict[str, Any]]) -> Tensor:
    """``[trials, objectives]``, all to be maximised."""
    rows = [[sign * trial[name] for name, sign in OBJECTIVES.items()] for trial in trials]
    return torch.tensor(rows, dtype=torch.float64)


def _open(folder: Path, config: SearchConfig, resume: bool, force: bool) -> list[dict[str, Any]]:
    """The trials that are there already; a torn last line is dropped."""
    settings = folder / "search.json"
    if not settings.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise AtmError(f"{folder} holds something that is no search; choose another --out")
        return []
    if force:
        for path in [folder / "trials.jsonl", folder / "front.csv", *folder.glob("trial-*.yaml")]:
            path.unlink(missing_ok=True)
        return []
    if not resume:
        raise AtmError(f"{folder} already holds a search; use --resume to go on with it or --force to replace it")
    before = json.loads(settings.read_text(encoding="utf-8"))
    for key, value in asdict(config).items():
        if before.get(key) != value and key != "evals":
            raise AtmError(f"{folder} was searched with {key} = {before.get(key)!r}, not {value!r}; give the same")
    trials = []
    for line in (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            trials.append(json.loads(line))
        except ValueError:
            break
    return trials


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
