"""BERT and its kin as the encoder runs them: norms behind the sums, the class and separator tokens in front.

Attention does not ask where a token stands in the row, so that both special tokens can come first, as the protected
ones of `atm.tokens.TokenBatch` do; their positions are those that they have in a sentence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from timm.layers import Attention, Mlp
from torch import Tensor, nn

from atm.tokens import NOWHERE, TokenBatch
from privacy_metrics.words import NO_WORD

SPECIAL = 2  # protected tokens: the class token and the separator


class BertBlock(nn.Module):
    """``norm1(x + attn(x))``, then ``norm2(x + mlp(x))``."""

    def __init__(self, width: int, heads: int, hidden: int, activation: type[nn.Module], eps: float) -> None:
        super().__init__()
        self.attn = Attention(width, num_heads=heads, qkv_bias=True)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, hidden, act_layer=activation)
        self.norm2 = nn.LayerNorm(width, eps=eps)


class Bert(nn.Module):
    """A BERT-like encoder, its parts under the names that `atm.encoder` asks of timm's models.

    Args:
        vocabulary: words that it knows.
        positions: that it has embeddings for.
        width: of a token.
        depth: layers.
        heads: of attention.
        hidden: width of the MLPs.
        activation: of the MLPs.
        eps: of the norms.
        first: position of the class token.
        special: numbers of the class token and the separator.
        global_pool: what the head reads: the class ``token``, or the average (``avg``) of all tokens.
        pooler: what stands between that and the head.
        num_classes: outputs of the head; 0 is none.
    """

    pool_include_prefix, num_prefix_tokens = True, SPECIAL

    def __init__(
        self,
        vocabulary: int,
        positions: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        activation: type[nn.Module] = nn.GELU,
        eps: float = 1e-12,
        first: int = 0,
        special: tuple[int, int] = (0, 1),
        global_pool: Literal["token", "avg"] = "avg",
        pooler: nn.Module | None = None,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.embed_dim, self.first, self.special, self.num_classes = width, first, special, num_classes
        self.global_pool = global_pool
        self.words, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.embed_norm = nn.LayerNorm(width, eps=eps)
        self.blocks = nn.ModuleList(BertBlock(width, heads, hidden, activation, eps) for _ in range(depth))
        self.norm, self.head_drop = nn.Identity(), nn.Identity()
        self.fc_norm = nn.Identity() if pooler is None else pooler
        self.head: nn.Module = nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def embed(self, sentences: Tensor, places: bool = False) -> TokenBatch:
        """Sentences as ragged tokens before the first layer.

        Args:
            sentences: ``[B, L]`` of words, `NO_WORD` where there is none; or ``[B, L, width]``, what takes the place of
                their embeddings, zeros where there is no word.
            places: whether tokens are to say where they stood.
        """
        there = sentences.abs().sum(-1) > 0 if sentences.is_floating_point() else sentences != NO_WORD
        counts, device = there.sum(1), sentences.device
        special = torch.tensor(self.special, device=device).expand(len(sentences), -1)
        # What stands in front, then the words; all that is not there is left out of the packed tokens.
        at = torch.cat([torch.zeros_like(counts)[:, None], counts[:, None] + 1, there.cumsum(1)], 1)
        kept = torch.cat([torch.ones_like(special, dtype=torch.bool), there], 1)
        if sentences.is_floating_point():
            embedded = torch.cat([self.words(special), sentences], 1)[kept]
        else:
            embedded = self.words(torch.cat([special, sentences], 1)[kept])
        values = embedded + self.positions(at[kept] + self.first)
        source = torch.where(there, there.cumsum(1) - 1 + SPECIAL, NOWHERE)
        sizes = torch.ones(len(values), device=device)
        tokens = TokenBatch(self.embed_norm(values), (counts + SPECIAL).cpu(), sizes, source, SPECIAL)
        return replace(tokens, places=tokens.rank.to(device)) if places else tokens
