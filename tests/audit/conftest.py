"""A tiny victim and a folder of pictures, so that the command line runs in a second."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atm.weight_files import write_weights
from audit import cli, options
from tests.atm.models import tiny_vit

SHAPE = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "num_classes": 2,
    "stem": "patch",
}


@pytest.fixture(scope="session")
def victim(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("victim") / "tiny.safetensors"
    description = {
        "kind": "victim",
        "architecture": SHAPE,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "classes": ["cat", "dog"],
    }
    write_weights(path, tiny_vit(num_classes=2), description)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for number in range(40):
            coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((32, 32), Image.Resampling.BICUBIC).save(root / name / f"{number}.png")
    return root


PROGRESS = re.compile(r"^(loading[^\n]*|\d+ s: .*)\n", re.MULTILINE)


@pytest.fixture
def atm(capsys, monkeypatch, tmp_path):
    """Run ``atm`` in this process: exit code, standard output, standard error without what tells of progress."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no LPIPS weights there, and none are fetched
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(options.out, "_width", 200)  # whatever it was when the console was made
    monkeypatch.setattr("privacy_metrics.registry.METRICS", cli_metrics())
    monkeypatch.setattr("audit.notes.METRICS", cli_metrics())

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atm", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, PROGRESS.sub("", captured.err)

    return run


def cli_metrics():
    """All metrics but LPIPS and DISTS, which need weights, and STOI, which takes long."""
    from privacy_metrics import METRICS

    return {name: metric for name, metric in METRICS.items() if name not in ("lpips", "dists", "stoi")}


def parse(text: str) -> dict:
    return json.loads(text.strip().splitlines()[-1])
