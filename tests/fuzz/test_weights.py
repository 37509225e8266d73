"""Weights, heads, codecs, placers, pickles and class names: damaged, of another kind, or signed but without sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from atm.weight_files import read_tensors
from tests.fuzz import world
from tests.fuzz.amount import share
from tests.fuzz.commands import check
from tests.fuzz.damage import damaged
from tests.fuzz.texts import ODD

ATTACK = [*world.ACCEPTED["attack"]]
WORDS = {
    "victim.safetensors": ATTACK,
    "codec.safetensors": [*ATTACK, "--codec", "codec.safetensors"],
    "head.safetensors": [*ATTACK, "--head", "head.safetensors"],
    "placer.safetensors": [*ATTACK, "--placer", "placer.safetensors"],
    "state.pth": [*world.ACCEPTED["convert"]],
}
JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    0.5,
    10**9,
    10**30,
    "text",
    "",
    [],
    {},
    [None],
    [[1]],
    {"a": 1},
    ["x"] * 3,
)
WRITES = r"new\.safetensors$"


@share(0.1)
@given(name=st.sampled_from(list(WORDS)), how=damaged())
def test_damaged_weights(copies, name, how):
    with copies(name) as folder:
        how(folder / name)
        check(WORDS[name], folder, writes=WRITES)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, tuple[str, ...], Any]:
    """A file, the way to a field of its description, and what stands there."""
    name = draw(st.sampled_from(list(WORDS)[:4]))
    fields = {
        "victim.safetensors": [
            *(("architecture", key) for key in (*world.SHAPE, "mlp_ratio", "x")),
            ("mean",),
            ("std",),
        ],
        "codec.safetensors": [("architecture", key) for key in ("width", "rates", "hidden", "depth", "x")],
        "placer.safetensors": [
            *((key,) for key in ("width", "layers", "layer", "codec", "policy", "data", "closed_form")),
            *(("closed_form", key) for key in ("ordered", "in_place", "per_token", "x")),
            *(("data", key) for key in ("name", "signals")),
        ],
    }.get(name, [])
    way = draw(st.sampled_from([*fields, ("kind",), ("victim",), ("classes",), ("architecture",), ("exit_layer",), ()]))
    return name, way, draw(st.one_of(st.sampled_from(JUNK), st.sampled_from(ODD)))


@share(0.08)
@given(change=changes())
def test_weights_that_describe_something_else(copies, change):
    name, way, value = change
    with copies(name) as folder:
        metadata, state = read_tensors(folder / name)
        described = json.loads(metadata["atm"])
        _put(described, way, value)
        text = json.dumps(described if way else value)
        (folder / name).write_bytes(save(state, {"atm": text}))
        check(WORDS[name], folder)


def _put(content: dict[str, Any], way: tuple[str, ...], value: Any) -> None:
    for step in way[:-1]:
        content = content.setdefault(step, {})
    if way:
        content[way[-1]] = value


def _spoil(folder: Path, name: str, spoil: Any) -> None:
    metadata, state = read_tensors(folder / name)
    first = sorted(state)[0]
    spoil(state, first)
    (folder / name).write_bytes(save(state, metadata))


def _nan(state: dict[str, torch.Tensor], first: str) -> None:
    state[first].view(-1)[0] = torch.nan


def _infinite(state: dict[str, torch.Tensor], first: str) -> None:
    state[first].view(-1)[-1] = torch.inf


def _missing(state: dict[str, torch.Tensor], first: str) -> None:
    del state[first]


def _more(state: dict[str, torch.Tensor], first: str) -> None:
    state["another"] = torch.zeros(3)


def _reshaped(state: dict[str, torch.Tensor], first: str) -> None:
    state[first] = state[first].reshape(-1)[:1].clone()


def _none(state: dict[str, torch.Tensor], first: str) -> None:
    state.clear()


@pytest.mark.parametrize("name", list(WORDS)[:4])
@pytest.mark.parametrize("spoil", [_nan, _infinite, _missing, _more, _reshaped, _none])
def test_tensors_that_must_be_refused(copies, name, spoil):
    with copies(name) as folder:
        _spoil(folder, name, spoil)
        check(WORDS[name], folder, must_refuse=True)


@pytest.mark.parametrize(
    "given", [name for name in world.FILES if name not in ("run", "swept", "compared", "searched")]
)
@pytest.mark.parametrize(
    "option",
    ["--victim", "--codec", "--head", "--weights", "--classes", "--policy", "--threat", "--replay", "--placer"],
)
def test_a_file_of_another_kind_is_refused(copies, option, given):
    right = {f"--{kind}": kind for kind in ("victim", "codec", "head", "policy", "threat", "placer")}
    if given.startswith(right.get(option, "-")):
        pytest.skip("the right kind")
    with copies() as folder:
        check([*ATTACK, option, given], folder, must_refuse=True)


CLASSES = (
    b"cat\n",
    b"cat\ndog\nbird\n",
    b"cat\ncat\n",
    b"\xff\xfe",
    b"cat\0dog\n",
    b"\0\n\0\n",
    b"\x1b[31m\nred\n",
    b"a" * 10**6 + b"\nb\n",
    b"cat\x0bdog\n",
    b" \n \n",
    b"\xef\xbb\xbfcat\ndog\n",
    b"cat\r\ndog\r\n",
    b"n\n" * 10**6,
)


@share(0.06)
@given(content=st.one_of(st.sampled_from(CLASSES), st.binary(max_size=40)), how=st.one_of(st.none(), damaged()))
def test_class_names(copies, content, how):
    with copies("classes.txt") as folder:
        path = folder / "classes.txt"
        path.write_bytes(content) if how is None else how(path)
        weights = load_file(folder / "victim.safetensors")
        (folder / "hf").mkdir()
        check([*_of_timm(folder, weights), "--classes", "classes.txt"], folder)


def _of_timm(folder: Path, weights: dict[str, torch.Tensor]) -> list[str]:
    """Words for the same victim as a folder in timm's format, whose class names are the user's to give."""
    arguments = {key: value for key, value in world.SHAPE.items() if key not in ("stem", "num_classes")}
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 2,
        "model_args": arguments,
        "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    (folder / "hf/config.json").write_text(json.dumps(config))
    (folder / "hf/model.safetensors").write_bytes(save(weights))
    words = [*ATTACK]
    words[words.index("victim.safetensors")] = "hf"
    return words


@share(0.06)
@given(
    way=st.sampled_from(
        [
            "architecture",
            "num_classes",
            "model_args",
            "pretrained_cfg",
            "img_size",
            "input_size",
            "mean",
            "std",
            "depth",
            "label_names",
            "global_pool",
        ]
    ),
    value=st.sampled_from(JUNK),
)
def test_a_folder_of_a_hub_with_another_description(copies, way, value):
    with copies() as folder:
        (folder / "hf").mkdir()
        words = _of_timm(folder, load_file(folder / "victim.safetensors"))
        config = json.loads((folder / "hf/config.json").read_text())
        part = {
            "img_size": "model_args",
            "depth": "model_args",
            "input_size": "pretrained_cfg",
            "mean": "pretrained_cfg",
            "std": "pretrained_cfg",
        }.get(way)
        (config[part] if part else config)[way] = value
        (folder / "hf/config.json").write_text(json.dumps(config))
        check(words, folder)


def test_the_folder_of_a_hub_is_accepted(copies):
    with copies() as folder:
        (folder / "hf").mkdir()
        ended = check([*_of_timm(folder, load_file(folder / "victim.safetensors")), "--classes", "classes.txt"], folder)
        assert ended.code == 0, ended.err
