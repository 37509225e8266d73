"""What tests of combinations run over: plain lists of names, and the tiny systems that they name."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from timm.models.eva import Eva
from torch import Tensor

import defenses
from atm import channels
from atm.codec import Codec, UncodedAnalog
from atm.digital import DigitalCodec
from atm.encoder import Encoder
from atm.errors import AtmError
from atm.jscc import JsccCodec
from atm.link import Link
from atm.policy import MergePolicy
from atm.victims.own import SHIPPED
from atm.weight_files import load_state, read_weights
from tests.atm.models import tiny_encoder

# One of each registered name; `test_matrix.py` says if one is missing.
DEFENCES = ("gaussian:0.5", "laplace:0.5", "quantize:4", "drop:0.5", "shuffle", "low-rank:16", "pad:8", "no-position",
            "adversarial", "nopeek", "disco:0.5", "cem:1:0.5")  # fmt: skip
CHAINS = ("no-position+drop:0.5+gaussian:0.2+pad:4", "pad:8+drop:0.8+quantize:6")
CHANNELS = ("noiseless", "awgn:10", "rayleigh:10", "rician:10,k=3", "burst:10,rate=0.3", "tdl-a:10", "tdl-b:10",
            "tdl-c:10", "tdl-d:10", "tdl-e:10")  # fmt: skip
CODECS = ("uncoded", "learned", "digital")
EXITS = (1, 2)
VICTIMS = ("absolute", "rotary")
REFUSED = {("shuffle", "rotary")}  # no such system can be

DEPTH = 2
SHAPE = {"embed_dim": 128, "depth": DEPTH, "num_heads": 4}  # as wide as the tokens that the shipped codec was made for


def pictures(count: int, seed: int = 0) -> Tensor:
    """Smooth pictures ``[count, 3, 32, 32]``, in which neighbouring patches resemble each other."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")


@cache
def victim(kind: str) -> Encoder:
    """A tiny victim without a class token, or one whose attention needs the places of its tokens."""
    if kind == "absolute":
        return tiny_encoder(class_token=False, global_pool="avg", **SHAPE)
    torch.manual_seed(0)
    eva = Eva(img_size=32, patch_size=8, num_classes=5, use_abs_pos_emb=False, use_rot_pos_emb=True, **SHAPE).eval()
    return Encoder(eva).eval().requires_grad_(False)


def policy(exit_layer: int) -> MergePolicy:
    """One under which every picture keeps its own number of tokens."""
    return MergePolicy.uniform(0.6, DEPTH, exit_layer=exit_layer)


@cache
def codec(kind: str, encoder: Encoder, exit_layer: int) -> Codec:
    """A codec for the tokens of one layer; the learned one is that of the shipped victim, as it is."""
    if kind == "uncoded":
        return UncodedAnalog(encoder.width)
    if kind == "learned":
        path = SHIPPED / "jscc_photos.safetensors"
        description, state = read_weights(path, "codec")
        learned = JsccCodec(**description["architecture"])
        load_state(learned, state, path)
        return learned.eval().requires_grad_(False)
    pytest.importorskip("sionna", reason="needs the extra 'sionna'")
    digital = DigitalCodec(encoder.width, 16, 10.0)
    digital.fit_to(encoder(pictures(16, 5), policy(exit_layer)).tokens.values)
    return digital.eval()


def channel(text: str) -> channels.Channel:
    """A channel, or the test is skipped where its library is missing."""
    if text.startswith("tdl"):
        pytest.importorskip("sionna", reason="needs the extra 'sionna'")
    return channels.parse(text)


def system(defence: str, codec_kind: str, exit_layer: int, victim_kind: str, over: str = "noiseless") -> Link:
    """A link under a fitted defence; an empty defence is none.

    Raises:
        AtmError: no such system can be.
    """
    encoder = victim(victim_kind)
    link = Link(encoder, policy(exit_layer), codec(codec_kind, encoder, exit_layer), channel(over))
    return defenses.fitted(defenses.create(defence), link, pictures(24, 3)) if defence else link


def refused(defence: str, victim_kind: str) -> bool:
    """Whether no such system can be, because the wire tells what the defence hides."""
    return any(name == victim_kind and part in defence.split("+") for part, name in REFUSED)


__all__ = ["AtmError", "channel", "codec", "pictures", "policy", "refused", "system", "victim"]
