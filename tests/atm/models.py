"""Tiny victims with random weights for tests of the core."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer

from atm.encoder import Encoder
from atm.tokens import TokenBatch


def tiny_vit(seed: int = 0, **options) -> VisionTransformer:
    torch.manual_seed(seed)
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
    vit = VisionTransformer(**(shape | options)).eval()
    with torch.no_grad():  # timm's initial biases are zero and its weights small; make every term count
        for parameter in vit.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return vit


def tiny_encoder(seed: int = 0, **options) -> Encoder:
    return Encoder(tiny_vit(seed, **options)).eval().requires_grad_(False)


def random_tokens(lengths: list[int], prefix: int = 1, width: int = 5, seed: int = 0) -> TokenBatch:
    """Tokens as they stand after earlier merging: each patch token stands for one or more of the patches."""
    generator = torch.Generator().manual_seed(seed)
    patches = max(lengths) + 3
    sizes, sources = [], []
    for length in lengths:
        free = length - prefix
        extra = torch.randint(0, free, (patches - free,), generator=generator)
        source = torch.cat([torch.arange(free), extra])
        sources.append(source + prefix)
        sizes += [torch.ones(prefix), torch.bincount(source, minlength=free).float()]
    return TokenBatch(
        values=torch.randn(sum(lengths), width, generator=generator),
        lengths=torch.tensor(lengths),
        sizes=torch.cat(sizes),
        source=torch.stack(sources),
        prefix=prefix,
    )
