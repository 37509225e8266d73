"""Learned matching: what maps do, their file beside the policy's, and everything that does not fit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from atm.encoder import Encoder
from atm.errors import AtmError
from atm.link import Link
from atm.maps import Maps
from atm.merging_training import value_maps
from atm.policy import MergePolicy
from tests.atm.models import tiny_encoder
from tests.systems import VICTIMS, pictures
from tests.systems import victim as small

IMAGES = pictures(6, 3)


def projections(encoder: Encoder) -> Maps:
    """Maps that are each layer's own projection to values."""
    width, layers = encoder.width, []
    for block in encoder.vit.blocks:
        layers.append((block.attn.qkv.weight[2 * width :], block.attn.qkv.bias[2 * width :]))
    return Maps.of(layers, {"victim": "tiny"})


def learned(encoder: Encoder, threshold: float = 0.7, maps: Maps | None = None, **options) -> MergePolicy:
    maps = maps or projections(encoder)
    return MergePolicy.uniform(threshold, encoder.depth, name="mine", match="learned", maps=maps, **options)


@pytest.mark.parametrize("threshold", [0.9, 0.7, 0.4])
@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}, {"reg_tokens": 2}], ids=str)
def test_the_projection_to_values_is_matching_on_values(options, threshold):
    encoder = tiny_encoder(**options)
    by_map, by_value = (
        encoder(IMAGES, policy) for policy in (learned(encoder, threshold), MergePolicy.uniform(threshold, 3))
    )
    assert torch.equal(by_map.layer_tokens, by_value.layer_tokens)
    assert torch.equal(by_map.tokens.source, by_value.tokens.source)
    assert torch.equal(by_map.tokens.values, by_value.tokens.values)
    assert bool((by_map.flops > by_value.flops).all()), "maps cost something"


@pytest.mark.parametrize("kind", VICTIMS)
def test_all_directions_of_the_values_lose_nothing(kind):
    encoder = small(kind)
    maps = value_maps(encoder, IMAGES, {}, compared=encoder.width)
    policy = MergePolicy.uniform(0.6, encoder.depth)
    found = encoder(IMAGES, learned(encoder, 0.6, maps)).tokens
    assert torch.equal(found.source, encoder(IMAGES, policy).tokens.source)
    few = value_maps(encoder, IMAGES, {})
    assert {few.compared(layer) for layer in range(encoder.depth)} == {128 // 4}


@pytest.mark.parametrize("compared", [3, 8])
def test_flops_are_what_torch_counts(compared):
    encoder = tiny_encoder()
    policy = learned(encoder, 0.6, value_maps(encoder, IMAGES, {}, compared))
    for image in IMAGES[:3]:
        with FlopCounterMode(display=False) as counter:
            flops = encoder(image[None], policy).flops
        assert float(flops[0]) == pytest.approx(counter.get_total_flops(), rel=0.005)


@pytest.mark.parametrize("name", ["p.yaml", "p.json"])
def test_a_policy_and_its_maps_survive_their_files_wherever_these_go(tmp_path, name):
    encoder = tiny_encoder()
    policy = learned(encoder)
    (tmp_path / "here").mkdir()
    policy.write(tmp_path / "here" / name)
    shutil.move(tmp_path / "here", tmp_path / "there")
    found = MergePolicy.read(tmp_path / "there" / name)
    assert found == policy and hash(found) == hash(policy) and found.as_dict() == policy.as_dict()
    assert found.maps.description == policy.maps.description | {"kind": "merging"}
    assert torch.equal(encoder(IMAGES, found).tokens.values, encoder(IMAGES, policy).tokens.values)
    assert found.as_dict()["maps_digest"] == policy.maps.digest and len(policy.maps.digest) == 64
    found.write(tmp_path / name)  # another folder, another copy
    assert MergePolicy.read(tmp_path / name) == policy


def test_other_maps_are_another_policy():
    encoder = tiny_encoder()
    one, other = learned(encoder), learned(encoder, maps=value_maps(encoder, IMAGES, {}))
    assert one != other and one.maps != other.maps and repr(one) != repr(other)
    assert one != MergePolicy.uniform(0.7, 3, name="mine") and one == learned(encoder)


def written(folder):
    learned(tiny_encoder()).write(folder / "p.yaml")
    return folder / "p.yaml", next(folder.glob("maps-*.safetensors"))


def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path):
    file, maps = written(tmp_path)
    good, text = maps.read_bytes(), file.read_text()

    def refusal() -> str:
        with pytest.raises(AtmError) as caught:
            MergePolicy.read(file)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    maps.write_bytes(good[:-4] + bytes(4))
    assert "SHA-256" in refusal()
    maps.write_bytes(good[: len(good) // 2])
    assert "cannot be read" in refusal()
    maps.unlink()
    assert "no such file" in refusal()
    maps.write_bytes(good)
    file.write_text(text.replace(maps.name, "maps.pt"))
    (tmp_path / "maps.pt").write_bytes(b"x")
    assert "pickle" in refusal()
    file.write_text(text.replace("match: learned", "match: value"))
    assert "go together" in refusal()
    file.write_text("thresholds: [1, 1]\nmatch: learned")
    assert "go together" in refusal()
    file.write_text(f"thresholds: [1, 1]\nmatch: learned\nmaps: {maps.name}")
    assert "3 layers and 2 thresholds" in refusal()
    file.write_text(text)
    assert MergePolicy.read(file).maps is not None, "the control must be right"


def test_maps_of_another_width_are_refused_before_anything_runs():
    policy = learned(tiny_encoder())
    wide = tiny_encoder(embed_dim=48)
    for use in (lambda: Link(wide, policy), lambda: wide(IMAGES, policy)):
        with pytest.raises(AtmError, match="24 values, but the victim's have 48"):
            use()


@pytest.mark.parametrize(
    ("weights", "biases"),
    [
        ([], []),
        ([torch.ones(2, 24)], [torch.ones(3)]),
        ([torch.ones(2, 24)], []),
        ([torch.ones(2, 24), torch.ones(2, 23)], [torch.ones(2)] * 2),
        ([torch.ones(())], [torch.ones(())]),
        ([torch.ones(0, 24)], [torch.ones(0)]),
        ([torch.ones(2, 24).long()], [torch.ones(2)]),
        ([torch.ones(2, 24)], [torch.ones(2).cfloat()]),
    ],
)
def test_weights_and_biases_that_are_no_maps_are_refused(weights, biases):
    with pytest.raises(AtmError, match="matrix and a bias"):
        Maps(tuple(weights), tuple(biases))


@pytest.mark.parametrize("name", ["", "..", "maps\n.safetensors", "x" * 200, "/dev/zero"])
def test_names_that_are_no_file_of_maps_are_refused_in_one_line(tmp_path, name):
    (tmp_path / "p.json").write_text(json.dumps({"thresholds": [1], "match": "learned", "maps": name}))
    with pytest.raises(AtmError) as caught:
        MergePolicy.read(tmp_path / "p.json")
    assert "\n" not in str(caught.value)
