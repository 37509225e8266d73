"""One good file of each kind that a command reads, and for each command words that it accepts."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from atm.codecs import JsccCodec
from atm.store import RunStore
from atm.victims import load_victim
from atm.weight_files import write_weights
from attacks.discriminant import Discriminant
from attacks.matcher import Matcher
from attacks.placer import Placer, short
from audit.compare import CompareConfig, compare
from audit.evaluate import attack
from audit.pareto.config import SearchConfig
from audit.pareto.outcome import Outcome
from audit.pareto.run import finish
from audit.pareto.trials import Trial, TrialLog
from audit.setting import AttackConfig
from audit.sweep import SweepConfig, sweep
from tests.atm.models import tiny_vit
from tests.audit.conftest import SHAPE
from tests.questions import save_language, write_questions

FILES = (
    "victim.safetensors", "codec.safetensors", "head.safetensors", "placer.safetensors", "classes.txt", "policy.yaml",
    "threat.yaml", "attack.yaml", "sweep.json", "pictures", "pictures.tar", "state.pth", "run", "swept", "compared",
    "searched", "schedule.yaml", "asked", "language", "tower.safetensors",
)  # fmt: skip
FEW = ("--victim", "victim.safetensors", "--data", "pictures", "--images", "4", "--auxiliary", "20")
OUT = ("--out", "out")
ACCEPTED: dict[str, tuple[str, ...]] = {
    "attack": ("attack", *FEW, "--attack", "ridge", "--policy", "none", "--quick", *OUT),
    "attack from a file": ("attack", "attack.yaml", *OUT),
    "attack again": ("attack", "run/run.json", "--replay", "run", *OUT),
    "compare": ("compare", *FEW, "--attack", "ridge", "--policy", "uniform-0.5", *OUT),
    "sweep": ("sweep", *FEW, "--snr", "5", "--policy", "none", *OUT),
    "search": ("search", *FEW, "--evals", "3", *OUT),
    "train victim": ("train", "victim", "--data", "pictures", "--size", "32", "--test-data", "pictures.tar",
                     "--out", "new.safetensors"),
    "train codec": ("train", "codec", "--victim", "victim.safetensors", "--data", "pictures",
                    "--out", "new.safetensors"),
    "train head": ("train", "head", "--victim", "victim.safetensors", "--data", "pictures",
                   "--out", "new.safetensors"),
    "train merging": ("train", "merging", "--victim", "victim.safetensors", "--data", "pictures", "--steps", "1",
                      "--batch", "4", "--images", "8", "--out", "new"),
    "train projector": ("train", "projector", "--victim", "test_vit", "--weights", "tower.safetensors",
                        "--image-size", "32", "--lm", "language", "--data", "asked", "--images", "8",
                        "--test-images", "4", "--out", "new"),
    "train placer": ("train", "placer", "--victim", "victim.safetensors", "--data", "pictures",
                     "--start", "placer.safetensors", "--out", "new.safetensors"),
    "calibrate": ("calibrate", "0.3", "--victim", "victim.safetensors", "--data", "pictures", "--images", "4",
                  "--out", "new.yaml"),
    "convert": ("convert", "state.pth", "new.safetensors"),
    "report": ("report", "run"),
    "leaderboard": ("leaderboard", "run"),
    "pick": ("pick", "searched", "--minimize", "leakage"),
    "list": ("list", "attacks"),
    "selfcheck": ("selfcheck",),
    "serve": ("serve", "--victim", "victim.safetensors", "--policy", "policy.yaml"),
    "device": ("device", *FEW, "--policy", "none"),
    "channel": ("channel", "--schedule", "schedule.yaml", "--bandwidth", "1e5", "--delay", "5"),
    "listen": ("listen", *FEW, "--policy", "none", "--threat", "eavesdropper:awgn:5", *OUT),
    "profile": ("profile", *FEW, "--policy", "none"),
    "key": ("key", "--out", "new.key"),
    "export": ("export", "--victim", "victim.safetensors", "--policy", "policy.yaml", "--out", "new.onnx"),
}  # fmt: skip
# What a command that is accepted here may write; the others begin nothing before the gate.
WRITES = {
    "calibrate": r"[^/]+\.ya?ml$",
    "convert": r"new\.safetensors$",
    "report": r"[^/]+$|run/(report\.html|card\.json)$",
    "leaderboard": r"[^/]+$",
    "pick": r"searched/policies/",
    "key": r".+",
}
COPIED = {"report": ("run",), "leaderboard": ("run",), "pick": ("searched",)}  # where they write

POLICY = "name: mine\nthresholds: [0.5, 0.9, 1.0]\nmatch: key\naverage: size\nexit_layer: 3\n"
THREAT = "name: eve\ntap: eavesdropper\nknows: [auxiliary, order, codec]\nchannel: awgn:5\nqueries: 40\nauxiliary: 30\n"
EXPERIMENT = (
    "victim: victim.safetensors\ndata: pictures\nimages: 4\nauxiliary: 20\npolicies: [none, policy.yaml]\n"
    "attacks: [ridge]\nchannel: awgn:10\nquick: true\nbudget: 60.0\nseed: 3\naccept: ['recognised<=5%']\n"
)
SWEEP = (
    '{"victim": "victim.safetensors", "data": "pictures", "images": 4, "auxiliary": 20, "policies": ["none"], '
    '"snr": [0.0, 5.5], "channels": ["awgn", "rician,k=3"], "eavesdropper_snr": [1.0], "codecs": ["auto"]}'
)


def build(folder: Path) -> None:
    """Write all of `FILES`."""
    _pictures(folder / "pictures")
    with tarfile.open(folder / "pictures.tar", "w") as tar:
        tar.add(folder / "pictures", "pictures")
    for part, first in (("test", 0), ("train", 8)):
        write_questions(folder / "asked", 8, part, first)
    save_language(folder / "language")
    save_file(timm.create_model("test_vit", img_size=32, num_classes=0).state_dict(), folder / "tower.safetensors")
    _weights(folder)
    for name, text in (
        ("classes.txt", "cat\ndog\n"),
        ("policy.yaml", POLICY),
        ("threat.yaml", THREAT),
        ("schedule.yaml", "0: awgn:10\n50: burst:10,rate=0.2\n"),
        ("attack.yaml", EXPERIMENT),
        ("sweep.json", SWEEP),
    ):
        (folder / name).write_text(text)
    _runs(folder)


def png(seed: int, side: tuple[int, int] = (32, 32), **options: object) -> bytes:
    """A small picture of its own."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **{"format": "PNG", **options})  # type: ignore[arg-type]
    return file.getvalue()


def _pictures(folder: Path) -> None:
    for number in range(26):
        kind = folder / ("cat", "dog")[number % 2]
        kind.mkdir(parents=True, exist_ok=True)
        (kind / f"{number}.png").write_bytes(png(number))


def _weights(folder: Path) -> None:
    shown = {"mean": [0.5] * 3, "std": [0.5] * 3, "classes": ["cat", "dog"]}
    vit = tiny_vit(num_classes=2)
    write_weights(folder / "victim.safetensors", vit, {"kind": "victim", "architecture": SHAPE, **shown})
    of = load_victim(str(folder / "victim.safetensors")).digest
    torch.manual_seed(0)
    codec, head = JsccCodec(SHAPE["embed_dim"], [4, 2], hidden=32), torch.nn.Linear(SHAPE["embed_dim"], 2)
    about = {"kind": "codec", "victim": of, "architecture": codec.config}
    write_weights(folder / "codec.safetensors", codec, about)
    write_weights(folder / "head.safetensors", head, {"kind": "head", "victim": of, "classes": ["cat", "dog"]})
    closed = Discriminant(torch.zeros(24), torch.ones(24), torch.randn(24, 16), torch.zeros(16), False, False)
    learned = {"victim": of, "codec": "", "layer": SHAPE["depth"], "policy": "none", "width": 8, "layers": 1}
    learned["threat"] = "server-shuffled"
    learned["data"] = {"name": "others", "signals": 1}
    placer = Placer(closed, Matcher.over(closed, 8, 1), learned, short(["ab" * 32]))
    placer.write(folder / "placer.safetensors")
    torch.save({"epoch": 3, "state_dict": head.state_dict()}, folder / "state.pth")


def _runs(folder: Path) -> None:
    few = {"victim": str(folder / "victim.safetensors"), "data": str(folder / "pictures"), "images": 4, "auxiliary": 20}
    one = few | {"policies": ("uniform-0.5",), "attacks": ("ridge",)}
    attack(AttackConfig(**one, quick=True), folder / "run")  # type: ignore[arg-type]
    compare(CompareConfig(**one), folder / "compared")  # type: ignore[arg-type]
    sweep(SweepConfig(**one, snr=(5.0,)), folder / "swept")  # type: ignore[arg-type]
    config = SearchConfig(**few, evals=3)  # type: ignore[arg-type]
    with RunStore(folder / "searched", "search", config.as_dict()) as store:
        store.begin({"config": config.as_dict(), "made_with": {}})
        store.update(start=3, notes=[])
        log = TrialLog(store)
        for number in range(3):
            values = {"accuracy": 0.9 - 0.1 * number, "gflops": 2.0 - number / 2, "tokens": 17.0 - number}
            values["leakage"] = 0.6 - 0.1 * number
            noise = dict.fromkeys(values, 1e-4)
            log.add(Trial(number, (1 - number / 4,) * 3, "start", f"{number}", values, noise, None, 0.1))
    finish(Outcome.read(folder / "searched"))
