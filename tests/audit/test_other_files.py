"""A run goes on only with the very files that it began with: names may stay while what they stand for changes."""

from __future__ import annotations

import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from atm.errors import AtmError
from atm.jscc import JsccCodec
from atm.threat import FEWEST
from atm.victims import load_victim
from atm.weight_files import write_weights
from audit.folder import RunFolder
from audit.setting import AttackConfig, prepare
from tests.atm.models import tiny_vit
from tests.audit.conftest import SHAPE

FEW_QUERIES = f"name: eve\ntap: eavesdropper\nknows: [auxiliary, order, merge_map]\nqueries: {FEWEST}\n"


@pytest.fixture
def files(victim, pictures, tmp_path):
    """A victim, and pictures, in a folder of their own."""
    shutil.copy(victim, tmp_path / "victim.safetensors")
    shutil.copytree(pictures, tmp_path / "pictures")
    (tmp_path / "eve.yaml").write_text(FEW_QUERIES)
    return tmp_path


def ask(folder, **more):
    return AttackConfig(
        policies=("uniform-0.5",), attacks=("ridge",), victim=str(folder / "victim.safetensors"),
        data=str(folder / "pictures"), images=4, auxiliary=40, **more,
    )  # fmt: skip


def begin(config, folder, resume=False):
    with RunFolder(folder / "run", asdict(config), resume=resume) as run:
        run.describe({**prepare(config).about, "command": "", "notes": []})


def weights(folder, kind, seed):
    torch.manual_seed(seed)
    described = {"kind": kind, "victim": load_victim(str(folder / "victim.safetensors")).digest}
    if kind == "codec":
        codec = JsccCodec(SHAPE["embed_dim"], [4], hidden=8)
        write_weights(folder / "codec.safetensors", codec, {**described, "architecture": codec.config})
    elif kind == "head":
        linear = torch.nn.Linear(SHAPE["embed_dim"], 2)
        write_weights(folder / "head.safetensors", linear, {**described, "classes": ["cat", "dog"]})
    else:
        described |= {"architecture": SHAPE, "mean": [0.5] * 3, "std": [0.5] * 3, "classes": ["cat", "dog"]}
        write_weights(folder / "victim.safetensors", tiny_vit(seed, num_classes=2), described)


@pytest.mark.parametrize("kind, field", [("victim", "victim.digest"), ("codec", "codec"), ("head", "victim.digest")])
def test_other_weights_of_the_same_name_are_refused(files, kind, field):
    weights(files, kind, 0)
    config = ask(files, **({} if kind == "victim" else {kind: str(files / f"{kind}.safetensors")}))
    begin(config, files)
    begin(config, files, resume=True)
    weights(files, kind, 1)
    with pytest.raises(AtmError, match=f"{field}.* is no longer what it was"):
        begin(config, files, resume=True)


@pytest.mark.parametrize("part", ["victims", "auxiliary", "validation", "unsent"])
def test_other_pictures_of_the_same_names_are_refused(files, part):
    """Also one that only chooses checkpoints, and one that no query is left for: both change attacks."""
    config = ask(files, threat=str(files / "eve.yaml") if part == "unsent" else "server")
    setting = prepare(config)
    begin(config, files)
    begin(config, files, resume=True)
    images = setting.unsent if part == "unsent" else getattr(setting.data, part).images
    wanted = (images[0] * 255).round().byte().permute(1, 2, 0).numpy()
    (path,) = [p for p in files.glob("pictures/*/*.png") if np.array_equal(np.array(Image.open(p)), wanted)]
    Image.fromarray(255 - wanted).save(path)
    with pytest.raises(AtmError, match=r"data\..* is no longer what it was"):
        begin(config, files, resume=True)
