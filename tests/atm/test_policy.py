"""Policies: validation and files."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atm.errors import AtmError
from atm.maps import Maps
from atm.policy import AVERAGES, MATCHES, PRESETS, MergePolicy, load

MAPS = Maps((torch.eye(3),) * 4, (torch.zeros(3),) * 4)


def rules(match, **options):
    return MergePolicy(match=match, maps=MAPS if match == "learned" else None, **options)


policies = st.builds(
    rules,
    thresholds=st.lists(st.floats(0, 1), min_size=4, max_size=4).map(tuple),
    remove=st.one_of(st.just(()), st.lists(st.integers(0, 9), min_size=4, max_size=4).map(tuple)),
    match=st.sampled_from(MATCHES),
    average=st.sampled_from(AVERAGES),
    proportional_attention=st.booleans(),
    exit_layer=st.one_of(st.none(), st.integers(1, 4)),
)


@given(policies, st.sampled_from(["p.yaml", "p.json"]))
def test_a_policy_survives_its_file(tmp_path_factory, policy, name):
    path = tmp_path_factory.mktemp("policy") / name
    policy.write(path)
    assert MergePolicy.read(path) == policy


@pytest.mark.parametrize("bad", [1.01, -0.1, float("nan"), float("inf"), "x", None, True])
def test_thresholds_outside_the_unit_interval_are_refused(bad):
    with pytest.raises(AtmError, match="threshold"):
        MergePolicy((0.5, bad))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "thresholds: 3", "thresholds: []", "thresholds: [0.5, 2]", "thresholds: [.nan]", "{", "\x00",
     "thresholds: [0.5]\ntresholds: [1]", "thresholds: [0.5]\nexit_layer: 2", "thresholds: [0.5]\nmatch: vlaue",
     "thresholds: [0.5]\nremove: [1, 2]", "thresholds: [0.5]\nremove: [-1]"],
)  # fmt: skip
def test_bad_policy_files_are_one_clear_error(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(AtmError) as caught:
        MergePolicy.read(path)
    assert "\n" not in str(caught.value)


def test_names():
    assert load("none", 6).thresholds == (1.0,) * 6
    assert not any(load("none", 6).merges_at(layer) for layer in range(6))
    assert load("uniform-0.85", 3).thresholds == (0.85,) * 3
    assert load("tome-4", 3).remove == (4, 4, 4)
    assert load("pitome-4", 3).remove == (4, 4, 4) and load("pitome-4", 3).order == "energy"
    for name in PRESETS:
        assert load(name, 4).name == name
    with pytest.raises(AtmError, match="did you mean 'moderate'"):
        load("moderat", 6)
    with pytest.raises(AtmError, match="uniform-x"):
        load("uniform-x", 6)


def test_wrong_depth_and_missing_file(tmp_path):
    MergePolicy.uniform(0.5, 4).write(tmp_path / "p.yaml")
    with pytest.raises(AtmError, match="has 4 thresholds but the victim has 6"):
        load(str(tmp_path / "p.yaml"), 6)
    with pytest.raises(AtmError, match="cannot be read"):
        load(str(tmp_path / "none.yaml"), 6)
