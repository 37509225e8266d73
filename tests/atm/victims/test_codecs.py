"""Which codec a victim's tokens get."""

from __future__ import annotations

import pytest

from atm.codec import UncodedAnalog
from atm.codecs import load_codec
from atm.errors import AtmError
from atm.jscc import JsccCodec
from atm.victims import load_victim, probe
from atm.weight_files import write_weights
from tests.atm.victims.saved import NAME, model, pictures, save


@pytest.fixture(scope="module")
def shipped():
    return load_victim("vit_photos")


def test_auto_takes_the_shipped_codec_for_the_last_layer_alone(shipped):
    depth = shipped.encoder.depth
    assert load_codec("auto", shipped)[0].name == "jscc"
    assert load_codec("auto", shipped, depth)[0].name == "jscc"
    codec, digest = load_codec("auto", shipped, depth - 1)
    assert isinstance(codec, UncodedAnalog) and not digest


def test_naming_the_shipped_codec_for_another_layer_is_refused(shipped):
    depth = shipped.encoder.depth
    with pytest.raises(AtmError, match=f"tokens after layer {depth}, these leave after layer 2; .*--exit-layer 2"):
        load_codec("jscc", shipped, 2)


def test_rates(shipped):
    assert load_codec("auto:16", shipped)[0].symbols_per_token == 16
    with pytest.raises(AtmError, match="drop ':16'"):
        load_codec("auto:16", shipped, 1)
    with pytest.raises(AtmError):
        load_codec("jscc:17", shipped)


@pytest.mark.parametrize("name", ["jsc", "", "codec.pth"])
def test_an_unknown_codec(shipped, name):
    with pytest.raises(AtmError, match="unknown codec"):
        load_codec(name, shipped)


def test_a_victim_without_a_shipped_codec_sends_uncoded(tmp_path):
    other = load_victim(NAME, save(model().state_dict(), tmp_path / "w.safetensors"))
    assert isinstance(load_codec("auto", other)[0], UncodedAnalog)
    with pytest.raises(AtmError, match="no codec is shipped"):
        load_codec("jscc", other)


def test_another_head_is_another_victim(shipped):
    changed = probe.probed(shipped, pictures(("a", "b"), size=shipped.encoder.input_shape[1], each=4))
    assert isinstance(load_codec("auto", changed)[0], UncodedAnalog)


def trained(path, victim, **changes):
    width = changes.pop("width", victim.encoder.width)
    codec = JsccCodec(width=width, symbols=4)
    about = {"kind": "codec", "victim": victim.digest, "architecture": codec.config, "exit_layer": 2}
    write_weights(path, codec, about | changes)
    return str(path)


def test_a_trained_codec_is_for_its_victim_and_layer(shipped, tmp_path):
    path = trained(tmp_path / "c.safetensors", shipped)
    codec, digest = load_codec(path, shipped, 2)
    assert isinstance(codec, JsccCodec) and len(digest) == 64
    with pytest.raises(AtmError, match="after layer 2, these leave after layer 3"):
        load_codec(path, shipped, 3)
    with pytest.raises(AtmError, match="another victim"):
        load_codec(trained(tmp_path / "d.safetensors", shipped, victim="0" * 64), shipped, 2)
    with pytest.raises(AtmError, match="tokens of 8 values"):
        load_codec(trained(tmp_path / "e.safetensors", shipped, width=8), shipped, 2)
    with pytest.raises(AtmError, match="no codec of this version"):
        load_codec(trained(tmp_path / "f.safetensors", shipped, architecture={"depth": 9}), shipped, 2)
