"""Published weights, where they are at hand: they load, and run under a policy with a head by probe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atm.data import load
from atm.policy import MergePolicy
from atm.victims import load_victim, probe

MODELS = Path(os.environ.get("ATM_MODELS") or Path(__file__).resolve().parents[4] / "models")


def weights(file: str) -> Path:
    if not (MODELS / file).exists():
        pytest.skip(f"needs {file} in $ATM_MODELS or ../models, which is missing")
    return MODELS / file


@pytest.mark.parametrize(
    ("name", "file", "outputs", "width"),
    [
        ("vit_small_patch14_dinov2", "dinov2_small_224.safetensors", "features", 384),
        ("vit_base_patch16_clip_quickgelu_224", "clip_vit_b16.safetensors", "an embedding", 768),
    ],
)
def test_a_published_backbone_becomes_a_classifier(shared_file, name, file, outputs, width):
    victim = load_victim(name, weights(file))
    assert victim.encoder.input_shape == (3, 224, 224) and victim.encoder.width == width
    assert victim.task is None and victim.description["outputs"] == outputs
    train = load(str(shared_file("data/imagenette_train.tar")), "train", size=224, limit=60)
    test = load(str(shared_file("data/imagenette_test.tar")), "test", size=224, limit=30)
    probed = probe.probed(victim, train)
    assert probed.answers(test).name == "accuracy"
    policy = MergePolicy.preset("moderate", probed.encoder.depth)
    encoded = probed.encoder(test.images, policy)
    assert int(encoded.tokens.lengths.max()) < victim.encoder.patch_grid[0] * victim.encoder.patch_grid[1] + 1
    right = probed.encoder.finish(encoded.tokens, policy).argmax(-1) == probed.answers(test).truth
    assert right.float().mean() > 0.3  # chance is 0.1
