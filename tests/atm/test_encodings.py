"""What is kept of an encoder is what it computes, on disk or not, whatever happens to the disk."""

from __future__ import annotations

import errno
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import atm.rows
from atm import cache, encodings
from atm.encoder import Encoded
from atm.encodings import BATCH, Encodings
from atm.policy import MergePolicy
from atm.rows import Held
from tests.systems import pictures, system

IMAGES = Held(pictures(BATCH + 20))
IDENTITY = {"victim": "one", "images": "two"}


@pytest.fixture(autouse=True)
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATM_CACHE", str(tmp_path))
    monkeypatch.setattr(encodings, "LONG", 1.0)


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "encodings").glob("*"))


def link(positions: str = "absolute"):
    return system("", "learned", 2, positions, "awgn:10")


def made(identity: dict[str, str] | None = IDENTITY, positions: str = "absolute") -> Encodings:
    own = link(positions)
    return Encodings(own.encoder, own.policy, IMAGES, identity)


def asked(found: Encodings) -> int:
    """Use it: how many tokens there are."""
    return int(found.lengths.sum())


def computed(monkeypatch: pytest.MonkeyPatch, found: Encodings) -> int:
    """How many images go through the encoder to answer."""
    sent = []
    real = Encodings._encode
    monkeypatch.setattr(Encodings, "_encode", lambda self, images: sent.append(len(images)) or real(self, images))
    found.select(torch.tensor([0]))
    monkeypatch.setattr(Encodings, "_encode", real)
    return sum(sent)


def same(found: Encoded, expected: Encoded) -> bool:
    pairs = [(found.layer_tokens, expected.layer_tokens), (found.flops, expected.flops)]
    names = ("values", "lengths", "sizes", "source", "places")
    pairs += [(getattr(found.tokens, name), getattr(expected.tokens, name)) for name in names]
    return found.tokens.prefix == expected.tokens.prefix and all(
        (one is None and other is None) or torch.equal(one, other) for one, other in pairs
    )


@pytest.mark.parametrize("positions", ["absolute", "rotary"])
@pytest.mark.parametrize("where", ["memory", "nameless file", "cache"])
def test_they_are_what_the_encoder_computes(where, positions, monkeypatch):
    if where == "nameless file":
        monkeypatch.setattr(atm.rows, "IN_MEMORY", 10_000)
    own, rows = link(positions), torch.tensor([3, 3, BATCH + 2, 0])
    expected = own.encode(IMAGES)
    for _ in range(2):
        found = Encodings(own.encoder, own.policy, IMAGES, IDENTITY if where == "cache" else None)
        if where == "nameless file":  # the batches are small where memory is
            assert torch.equal(found.lengths, expected.tokens.lengths)
            values = [each.select(rows).tokens.values for each in (found, expected)]
            torch.testing.assert_close(*values, rtol=1e-4, atol=1e-4)
        else:
            assert same(found.select(rows), expected.select(rows)) and same(
                Encoded.cat(list(found.split(33))), expected
            )
        sent, direct = own.transmit(found, 5), own.transmit(IMAGES[:], 5)
        torch.testing.assert_close(sent.received.values, direct.received.values, rtol=1e-4, atol=1e-4)
        assert torch.equal(sent.symbols, direct.symbols) and torch.equal(sent.flops, direct.flops)


def test_they_are_computed_once(tmp_path, monkeypatch):
    assert computed(monkeypatch, made()) == 4 + len(IMAGES)  # four tell how long it takes
    assert computed(monkeypatch, made()) == 0 and len(entries(tmp_path)) == 1


def test_where_there_is_no_room_nothing_is_computed_twice(monkeypatch):
    monkeypatch.setenv("ATM_CACHE_LIMIT", "0.001")
    assert computed(monkeypatch, made()) == 4 + len(IMAGES)


def test_short_ones_and_those_without_a_digest_are_not_filed(tmp_path, monkeypatch):
    assert computed(monkeypatch, made(None)) == len(IMAGES)
    monkeypatch.setattr(encodings, "LONG", 1e13)
    assert computed(monkeypatch, made()) == 4 + len(IMAGES) and entries(tmp_path) == []


def test_whatever_they_depend_on_makes_others(tmp_path):
    own = link()
    depth = own.encoder.depth
    policies = [own.policy, MergePolicy.uniform(1.0, depth), MergePolicy.uniform(0.5, depth),
                MergePolicy.uniform(0.5, depth, exit_layer=1)]  # fmt: skip
    for policy in policies:
        asked(Encodings(own.encoder, policy, IMAGES, IDENTITY))
        asked(Encodings(own.encoder, policy, IMAGES, {**IDENTITY, "victim": "other"}))
        asked(Encodings(own.encoder, policy, IMAGES, {**IDENTITY, "images": "others"}))
    assert len(entries(tmp_path)) == 3 * len(policies)
    own.encoder.mean += 0.1
    asked(Encodings(own.encoder, own.policy, IMAGES, IDENTITY))
    assert len(entries(tmp_path)) == 3 * len(policies) + 1


@pytest.mark.parametrize("setting", ["num_heads", "scale"])
def test_settings_that_no_weights_tell_make_others(tmp_path, setting):
    own = link()
    asked(Encodings(own.encoder, own.policy, IMAGES, IDENTITY))
    encoder = deepcopy(own.encoder)
    attn = encoder.vit.blocks[0].attn
    setattr(attn, setting, 2 * getattr(attn, setting))
    assert (
        Encodings(encoder, own.policy, IMAGES, IDENTITY).place
        != Encodings(own.encoder, own.policy, IMAGES, IDENTITY).place
    )
    assert Encodings(deepcopy(own.encoder).train(), own.policy, IMAGES, IDENTITY).place.exists()


def test_a_policys_name_does_not_count(tmp_path):
    own = link()
    for name in ("a", "b"):
        asked(Encodings(own.encoder, MergePolicy.uniform(0.5, own.encoder.depth, name=name), IMAGES, IDENTITY))
    assert len(entries(tmp_path)) == 1


@pytest.mark.parametrize(
    "damage", ["values cut off", "frame cut off", "frame is another", "values missing", "no metadata"]
)
def test_damaged_ones_are_made_anew(damage, tmp_path, monkeypatch):
    expected = made().select(torch.arange(len(IMAGES)))
    (entry,) = entries(tmp_path)
    values, frame = entry / encodings.VALUES, entry / encodings.FRAME
    if damage == "values missing":
        values.unlink()
    elif damage == "no metadata":
        save_file({"values": torch.ones(2)}, frame)
    elif damage == "frame is another":
        frame.write_bytes(b"\0" * 100)
    else:
        path = values if damage.startswith("values") else frame
        path.write_bytes(path.read_bytes()[:-8])
    assert same(made().select(torch.arange(len(IMAGES))), expected)
    assert computed(monkeypatch, made()) == 0


@pytest.mark.parametrize("trouble", ["full", "full at the end", "a name too long", "unwritable", "limit"])
def test_no_room_is_no_obstacle(trouble, tmp_path, monkeypatch):
    expected = made(None).select(torch.arange(len(IMAGES)))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    if trouble == "full":
        monkeypatch.setattr(atm.rows.os, "write", full)
    elif trouble == "full at the end":
        monkeypatch.setattr(encodings, "save_file", lambda *_: safe_open("/nowhere", "pt"))
    elif trouble == "a name too long":
        monkeypatch.setenv("ATM_CACHE", str(tmp_path / ("x" * 300)))
    elif trouble == "unwritable":
        (tmp_path / "file").write_text("x")
        monkeypatch.setenv("ATM_CACHE", str(tmp_path / "file"))
    else:
        monkeypatch.setenv("ATM_CACHE_LIMIT", "0.00001")
    assert same(made().select(torch.arange(len(IMAGES))), expected)
    assert entries(tmp_path) == []


def test_pictures_and_encodings_share_one_limit(tmp_path, monkeypatch):
    old = tmp_path / cache.PICTURES / "old"
    old.mkdir(parents=True)
    (old / "pixels.npy").write_bytes(b"x" * 1_000_000)
    asked(made())
    size = sum(file.stat().st_size for file in entries(tmp_path)[0].iterdir())
    monkeypatch.setenv("ATM_CACHE_LIMIT", str((size * 2 + 10_000) / 1e9))
    asked(made({**IDENTITY, "victim": "other"}))
    assert not old.exists() and len(entries(tmp_path)) == 2
