"""A pretrained model that looks at pictures and has nothing to do with the victim: what it tells apart can be told."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from atm.encoder import Encoder
from atm.errors import AtmError
from atm.finite import check_finite
from atm.policy import MergePolicy
from atm.progress import track
from atm.signals import ImageSignal
from atm.victims import load_victim
from atm.weight_files import tensors_digest
from privacy_metrics.recognition import colourless

BATCH = 16


@dataclass(frozen=True)
class Recogniser:
    """A model as a judge of pictures, by what its task head would read.

    It is shown every picture without colours (`privacy_metrics.recognition.colourless`), by which alone a picture can
    be found, and which nobody would call recognising what it shows.

    Attributes:
        name: what the user called it.
        digest: SHA-256 of its weights.
        encoder: the model.
        seen: features by the SHA-256 of a picture, so that no picture is looked at twice.
    """

    name: str
    digest: str
    encoder: Encoder
    seen: dict[bytes, Tensor] = field(default_factory=dict)

    @classmethod
    def load(
        cls, name: str, weights: str | None, apart_from: Collection[str], device: torch.device | str = "cpu"
    ) -> Recogniser:
        """A model by the names that victims have (`atm.victims.load_victim`).

        Args:
            name: of the model.
            weights: a file with them, or None.
            apart_from: digests of the victim, with and without the head that it was given, and that of its
                beginning (`beginning`).
            device: where it looks.

        Raises:
            AtmError: there is none by that name, it does not look at colour pictures, or it is the victim itself.
        """
        found = load_victim(name, weights)
        signal = found.encoder.signal
        if not isinstance(signal, ImageSignal) or signal.shape[0] != 3:
            raise AtmError(f"recogniser {name!r} does not look at colour pictures; give a model that does")
        if {found.digest, beginning(found.encoder)} & {*apart_from}:
            raise AtmError(
                f"recogniser {name!r} is the victim, whose features attacks aim at; give a model that has nothing to "
                "do with it"
            )
        found.encoder.to(device)
        return cls(found.name, found.digest, found.encoder)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """``[B, f]`` of pictures ``[B, C, H, W]`` in [0, 1] of any size, on the CPU.

        Raises:
            AtmError: they hold NaN or infinities.
        """
        keys = [hashlib.sha256(image.contiguous().numpy().tobytes()).digest() for image in images.cpu()]
        new = {key: number for number, key in enumerate(keys) if key not in self.seen}
        policy = MergePolicy.preset("none", self.encoder.depth)
        unseen = torch.tensor([*new.values()], dtype=torch.long)
        for rows in track(unseen.split(BATCH) if new else (), f"{self.name} looks"):
            tokens = self.encoder(self._shown(images.cpu()[rows]).to(self.encoder.device), policy).tokens
            found = self.encoder.pool(tokens, policy).float().cpu()
            check_finite(f"features of recogniser {self.name!r}", found)
            self.seen.update(zip((keys[row] for row in rows.tolist()), found, strict=True))
        return torch.stack([self.seen[key] for key in keys])

    def _shown(self, images: Tensor) -> Tensor:
        height, width = self.encoder.signal.shape[1:]
        images = colourless(images)
        if images.shape[2:] == (height, width):
            return images
        return interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def beginning(encoder: Encoder) -> str:
    """SHA-256 of a vision transformer's patch embedding and first layer without positions, in hex.

    It stays the same for other image sizes, to which positions are resampled, for other heads and exits, and however
    the file was written.
    """
    parts = {"patches": encoder.vit.patch_embed, "layer": encoder.vit.blocks[0]}
    named = ((f"{part}.{name}", tensor) for part, module in parts.items() for name, tensor in module.named_parameters())
    return tensors_digest({name: tensor for name, tensor in named if "pos" not in name})
