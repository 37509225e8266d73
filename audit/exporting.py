"""The device's part of a link as a graph that needs no Python: ONNX, for one picture at a time under one policy.

How many tokens are left depends on the picture: in the graph that is a size that only a run knows, as ONNX allows. So
merging saves what it saves here, unlike in a graph that masks tokens and computes with them all.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch
from torch import Tensor, nn

from atm.errors import AtmError
from atm.link import Link
from atm.matching import merged
from audit.live.system import Mode
from privacy_metrics.extras import extra

_MISSING = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
OUTPUTS = ("symbols", "side", "sizes", "places")


class DevicePart(nn.Module):
    """Encoder and codec under a policy, for one picture.

    Args:
        link: without a defence, whose random draws a graph would repeat.

    Raises:
        AtmError: it has one, a codec that is not of numbers alone, or a policy that removes a fixed number of tokens.
    """

    def __init__(self, link: Link) -> None:
        super().__init__()
        if link.defence is not None:
            raise AtmError("a defence draws anew for every frame, and a graph cannot; export without --defense")
        if link.codec.name == "digital":
            raise AtmError("codec 'digital' is made of tables of another library; export with --codec jscc or uncoded")
        if link.policy.remove:
            raise AtmError(f"policy {link.policy.name!r} removes a fixed number of tokens; export one with thresholds")
        self._link, self.encoder = link, link.encoder
        self.codec = link.codec if isinstance(link.codec, nn.Module) else nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """What leaves the device of one picture.

        Args:
            image: ``[1, C, H, W]`` float in [0, 1].

        Returns:
            Symbols ``[T, k, 2]``, real and imaginary; side information ``[1, s]``; how many patches each token stands
            for ``[T]``; where it stood ``[T]`` int64, or nothing ``[0]`` where no receiver needs that.
        """
        encoder, policy = self.encoder, self._link.policy
        tokens = encoder.start(image)
        for layer in range(policy.device_layers):
            tokens, projected = encoder.mix(tokens, policy, layer)
            if policy.merges_at(layer):
                tokens = merged(tokens, projected, policy, layer)
            torch._check(tokens.values.shape[0] > tokens.prefix)  # as every patch ends in some token
            tokens = tokens.with_values(encoder.transformed(tokens.values, layer))
        vars(tokens)["padding"] = None  # there is none without a defence, and looking for it is no part of the graph
        _, symbols, side = self._link.emit(tokens)
        places = tokens.places if encoder.uses_places and tokens.places is not None else torch.empty(0)
        assert tokens.sizes is not None
        return torch.view_as_real(symbols), side, tokens.sizes, places.long()


@torch.no_grad()
def as_onnx(mode: Mode) -> bytes:
    """The device's part under a policy as an ONNX file, which says in its metadata what a server must have alike.

    Raises:
        AtmError: packages are missing, or the system is none that can be written.
    """
    if _MISSING:
        raise AtmError(f"an export needs {' and '.join(_MISSING)}; {extra('export')}")
    part = DevicePart(mode.link).eval()
    example = (torch.rand(1, *part.encoder.input_shape, generator=torch.Generator().manual_seed(0)),)
    for library in ("torch.onnx", "onnx_ir", "onnxscript"):  # what they guess is compared in the tests
        logging.getLogger(library).setLevel(logging.ERROR)
    traced = torch.export.export(part, example, strict=False)
    program: Any = torch.onnx.export(
        traced, dynamo=True, optimize=False, verbose=False, input_names=["image"], output_names=list(OUTPUTS)
    )
    program.model.metadata_props.update({**mode.agreement, "channel": str(mode.link.channel)})
    written: bytes = program.model_proto.SerializeToString()
    return written
