"""An exported device gives what the device gives: as many tokens, of the same sizes and places, the same symbols."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from audit.exporting import OUTPUTS, DevicePart, as_onnx
from audit.live.system import Mode
from tests.atm.models import tiny_encoder
from tests.systems import DEPTH, codec, pictures, system, victim

ort = pytest.importorskip("onnxruntime", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")
POLICIES = {
    "none": MergePolicy.uniform(1.0, DEPTH),
    "some": MergePolicy.uniform(0.6, DEPTH, exit_layer=1),
    "all that can": MergePolicy.uniform(0.0, DEPTH),
    "size-aware": MergePolicy.uniform(0.7, DEPTH, similarity="size-aware", proportional_attention=True),
}


def exported(link: Link) -> tuple[Mode, ort.InferenceSession]:
    mode = Mode(link, {"policy": "p" * 64, "wire": "symbols"})
    quiet = ort.SessionOptions()
    quiet.log_severity_level = 3
    return mode, ort.InferenceSession(as_onnx(mode), quiet)


@pytest.mark.parametrize(
    ("policy", "kind", "coder"),
    [*((policy, "absolute", "learned") for policy in POLICIES), ("some", "rotary", "uncoded")],
)  # fmt: skip
def test_the_graph_is_the_device(policy, kind, coder):
    encoder, chosen = victim(kind), POLICIES[policy]
    link = system("", coder, 2, kind, "awgn:10")
    link = Link(encoder, chosen, codec(coder, encoder, 2), link.channel)
    mode, graph = exported(link)
    assert graph.get_modelmeta().custom_metadata_map == {**mode.agreement, "channel": "awgn:10"}
    counts = set()
    for picture in [*pictures(10), torch.full((3, 32, 32), 0.5), torch.rand(3, 32, 32)]:
        with torch.no_grad():
            tokens, symbols, side = link.emit(link.encoder(picture[None], link.policy).tokens)
        got = dict(zip(OUTPUTS, graph.run(list(OUTPUTS), {"image": picture[None].numpy()}), strict=True))
        counts.add(len(got["symbols"]))
        assert np.array_equal(got["sizes"], tokens.sizes.numpy())
        if link.encoder.uses_places:
            assert np.array_equal(got["places"], tokens.places.numpy())
        np.testing.assert_allclose(got["symbols"], torch.view_as_real(symbols).numpy(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(got["side"], side.numpy(), rtol=1e-4, atol=1e-4)
    if policy in ("some", "size-aware"):
        assert len(counts) > 1, "each picture has its own number"


def test_a_picture_of_which_one_token_is_left_goes_on():
    encoder = tiny_encoder(class_token=False, global_pool="avg", embed_dim=32, depth=6, num_heads=2)
    link = Link(encoder, MergePolicy.uniform(0.0, 6))
    _, graph = exported(link)
    for picture in [*pictures(3), torch.full((3, 32, 32), 0.5)]:
        with torch.no_grad():
            tokens, symbols, _ = link.emit(link.encoder(picture[None], link.policy).tokens)
        got = graph.run(["symbols", "sizes"], {"image": picture[None].numpy()})
        assert tokens.counts == [1] and got[1].tolist() == [16]
        np.testing.assert_allclose(got[0], torch.view_as_real(symbols).numpy(), rtol=0, atol=1e-4)


def test_what_cannot_be_a_graph_is_refused(monkeypatch):
    link = system("gaussian:0.5", "uncoded", 1, "absolute")
    with pytest.raises(AtmError, match="a defence draws anew"):
        DevicePart(link)
    digital = system("", "digital", 1, "absolute")
    with pytest.raises(AtmError, match="'digital'"):
        DevicePart(digital)
    with pytest.raises(AtmError, match="fixed number"):
        DevicePart(link.with_defence(None).with_policy(MergePolicy.fixed_ratio(3, DEPTH, exit_layer=1)))
    monkeypatch.setattr("audit.exporting._MISSING", ["onnx"])
    with pytest.raises(AtmError, match=r"\.\[export\]"):
        as_onnx(Mode(link.with_defence(None), {"policy": "p" * 64}))
