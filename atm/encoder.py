"""A timm vision transformer that runs under a merging policy, on packed tokens.

Linear layers see the packed ``[T, d]``; attention alone needs to know where an image ends. Layers that merge nothing
compute exactly what timm computes. What is particular to a family of models stands in `atm.families`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from atm import families
from atm.attention import attend
from atm.errors import AtmError
from atm.matching import Projected, merged
from atm.policy import MergePolicy
from atm.shards import Result, in_threads, shards
from atm.signals import ImageSignal, Signal, kind
from atm.tokens import TokenBatch

# A CPU runs at most so many tokens at a time, and of those so many through an MLP, whose activations are the widest:
# few enough for them to stay in its caches and in memory that it already has, many enough for its matrix products.
# Measured in benchmarks/engine.md.
TOKENS_AT_ONCE = 3200
MLP_TOKENS_AT_ONCE = 512


@dataclass(frozen=True)
class Encoded:
    """What the device computed.

    Attributes:
        tokens: the tokens that are left, at the exit layer.
        layer_tokens: ``[layers + 1, B]`` int64, tokens of each image before each layer, and at the exit.
        flops: ``[B]`` float64, floating-point operations (a multiply and an add are two) spent on each image, as
            `torch.utils.flop_counter` counts them of an image alone: patch embedding, linear layers, attention and
            matching. What fills images up to equal lengths, where matching runs padded, is not counted.
    """

    tokens: TokenBatch
    layer_tokens: Tensor
    flops: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def cat(cls, parts: Sequence[Encoded]) -> Encoded:
        """Several batches as one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            TokenBatch.cat([part.tokens for part in parts]),
            torch.cat([part.layer_tokens for part in parts], 1),
            torch.cat([part.flops for part in parts]),
        )

    def split(self, size: int) -> Iterator[Encoded]:
        """That of all images, so many at a time and the rest at the end."""
        return (self.select(rows) for rows in torch.arange(len(self)).split(size))

    def select(self, images: Tensor) -> Encoded:
        """That of some images, by their numbers ``[n]``."""
        return Encoded(self.tokens.select(images), self.layer_tokens[:, images], self.flops[images])


class Encoder(nn.Module):
    """Device and server parts of one vision transformer.

    Args:
        vit: timm's model, as it is; `atm.families` says which ones.
        mean: per-channel mean that the model expects its input to be normalised with; one number is every channel's.
        std: per-channel deviation, likewise.
        spectrogram: the recipe by which its input is made of sound (`atm.signals.spectrogram`); empty for pictures.

    Attributes:
        uses_places: whether attention needs to know where each token stood (rotary positions, relative bias).

    Raises:
        AtmError: the model is not built as this encoder can run it, or has another number of channels.
    """

    def __init__(
        self, vit: nn.Module, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,), spectrogram: str = ""
    ) -> None:
        super().__init__()
        families.check(vit)
        self.vit: Any
        self.vit = vit
        self.spectrogram = spectrogram
        self.uses_places = families.uses_places(vit)
        self._embedding_flops = self._take_in(mean, std)
        self._layer_weights = torch.tensor([_layer_weights(block) for block in self.vit.blocks], dtype=torch.float64)

    def _take_in(self, mean: Sequence[float], std: Sequence[float]) -> float:
        """Keep what its input is normalised with; the operations that embedding one input takes."""
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", _per_channel("mean", mean, self.input_shape[0]), persistent=False)
        self.register_buffer("std", _per_channel("std", std, self.input_shape[0]), persistent=False)
        return _count_flops(self.vit.patch_embed, self.input_shape)

    def around(self, vit: nn.Module) -> Encoder:
        """The same around another model that takes the same, in evaluation mode and frozen."""
        mean, std = (tensor.flatten().tolist() for tensor in (self.mean, self.std))
        return Encoder(vit, mean, std, self.spectrogram).eval().requires_grad_(False).to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and with them all that is computed; images have to be there."""
        return self.mean.device

    @property
    def depth(self) -> int:
        """Number of transformer layers."""
        return len(self.vit.blocks)

    @property
    def width(self) -> int:
        """Values per token."""
        return int(self.vit.embed_dim)

    def counts_sizes(self, policy: MergePolicy) -> bool:
        """Whether the server's layers or head weigh a token by how many patches it stands for, under a policy.

        Where nothing merges every token stands for one patch, and nobody needs to be told.
        """
        merges = any(policy.merges_at(layer) for layer in range(policy.device_layers))
        later = policy.proportional_attention and policy.device_layers < self.depth
        return merges and (later or self.vit.global_pool != "token")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the input images."""
        height, width = self.vit.patch_embed.img_size
        return first_kernel(self.vit.patch_embed).shape[1], int(height), int(width)

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Patches down and across."""
        rows, columns = self.vit.patch_embed.grid_size
        return int(rows), int(columns)

    @property
    def signal(self) -> Signal:
        """What goes in, and what an attack on this victim gives back."""
        made: type[Any] = kind(self.spectrogram or ImageSignal.name)
        signal: Signal = made(self.input_shape, self.patch_grid)
        return signal

    def normalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the model expects them."""
        return (images - self.mean) / self.std

    def forward(self, images: Tensor, policy: MergePolicy) -> Encoded:
        """Run the device's layers under a policy.

        Args:
            images: ``[B, C, H, W]`` float in [0, 1], of the model's `input_shape`.
            policy: one rule for each layer of the model.

        Raises:
            AtmError: images of another size than the model's, or a policy of another depth.
        """
        policy.for_depth(self.depth, self.width)
        if images.shape[1:] != self.signal.shape:
            wanted = "x".join(map(str, self.signal.shape))
            raise AtmError(f"images of shape {list(images.shape[1:])} do not fit a victim for {wanted}")
        parts = shards(len(images), images.device)
        return in_threads(lambda some: self._on_device(images[some], policy), parts, Encoded.cat)

    def _on_device(self, images: Tensor, policy: MergePolicy) -> Encoded:
        orders = policy.order == "tome"
        parts = [self.start(part, orders) for part in images.split(self._images_at_once(images))]
        counts = [torch.cat([part.lengths for part in parts])]
        for layer in range(policy.device_layers):
            parts = _joined([self._layer(part, policy, layer) for part in parts])
            counts.append(torch.cat([part.lengths for part in parts]))
        tokens = TokenBatch.cat(parts)
        if orders:
            tokens = tokens.in_place()
            tokens = tokens if self.uses_places else replace(tokens, places=None)
        layer_tokens = torch.stack(counts)
        return Encoded(tokens, layer_tokens, self.flops(layer_tokens, policy))

    def finish(self, tokens: TokenBatch, policy: MergePolicy) -> Tensor:
        """The server's part: the layers after the exit, then the task head. ``[B, classes]`` logits."""
        return self._on_server(tokens, policy, partial(families.head, self.vit), _rows)

    def pool(self, tokens: TokenBatch, policy: MergePolicy) -> Tensor:
        """The server's part up to what the task head reads: ``[B, features]``."""
        return self._on_server(tokens, policy, partial(families.pooled, self.vit), _rows)

    def _rest(self, tokens: TokenBatch, policy: MergePolicy) -> TokenBatch:
        """The tokens after the last layer."""
        if policy.device_layers == self.depth:
            return tokens
        return self._on_server(tokens, policy, lambda some: some, TokenBatch.cat)

    def _on_server(
        self, tokens: TokenBatch, policy: MergePolicy, end: Callable[[TokenBatch], Result],
        join: Callable[[list[Result]], Result],
    ) -> Result:  # fmt: skip
        """The layers after the exit, then what reads the tokens behind them."""
        parts, everyone = shards(len(tokens), tokens.values.device), range(len(tokens))

        def rest(part: slice) -> Result:
            some = tokens if len(parts) == 1 else tokens.select(everyone[part])
            for layer in range(policy.device_layers, self.depth):
                some = self.transform(self.mix(some, policy, layer)[0], layer)
            return end(some)

        return in_threads(rest, parts, join)

    def start(self, images: Tensor, places: bool = False) -> TokenBatch:
        """The tokens of images ``[B, C, H, W]`` in [0, 1] before the first layer, with places where asked or needed."""
        x = families.embed(self.vit, self.normalise(images))
        return TokenBatch.dense(x, self.vit.num_prefix_tokens, places=places or self.uses_places)

    def mix(self, tokens: TokenBatch, policy: MergePolicy, layer: int) -> tuple[TokenBatch, Projected]:
        """The attention half of a layer; also what of it a matching may look at."""
        half, x = families.attention_half(self.vit.blocks[layer]), tokens.values
        normed = half.before(x)
        positions = families.positions(self.vit, layer) if self.uses_places else None
        attended, keys, values = attend(half.inner, normed, tokens, positions, policy.proportional_attention)
        return tokens.with_values(half.close(x + half.after(attended))), Projected(normed, keys, values)

    def transform(self, tokens: TokenBatch, layer: int) -> TokenBatch:
        """The MLP half of a layer."""
        x = tokens.values
        pieces = x.split(MLP_TOKENS_AT_ONCE) if x.device.type == "cpu" and len(x) > MLP_TOKENS_AT_ONCE else (x,)
        made = [self.transformed(piece, layer) for piece in pieces]
        return tokens.with_values(made[0] if len(made) == 1 else torch.cat(made))

    def transformed(self, x: Tensor, layer: int) -> Tensor:
        """The MLP half of a layer on token values ``[T, d]``, all at once."""
        half = families.mlp_half(self.vit.blocks[layer])
        return half.close(x + half.after(half.inner(half.before(x))))

    def _images_at_once(self, images: Tensor) -> int:
        if images.device.type != "cpu":
            return len(images)
        return max(1, min(len(images), TOKENS_AT_ONCE // self.signal.places))

    def _layer(self, tokens: TokenBatch, policy: MergePolicy, layer: int) -> TokenBatch:
        tokens, projected = self.mix(tokens, policy, layer)
        if policy.merges_at(layer):
            tokens = merged(tokens, projected, policy, layer)
        del projected  # views of all that the attention projected; the MLP needs the memory
        return self.transform(tokens, layer)

    def flops(self, layer_tokens: Tensor, policy: MergePolicy) -> Tensor:
        """What `torch.utils.flop_counter` would count on the device for each image.

        Args:
            layer_tokens: ``[layers + 1, B]``, tokens of each image before each layer and at the exit.
            policy: what merges where.

        Returns:
            ``[B]`` float64; a multiply and an add are two operations.
        """
        layers = len(layer_tokens) - 1
        attention, heads, mlp = self._layer_weights[:layers].T[:, :, None]
        before, after = layer_tokens[:-1].double(), layer_tokens[1:].double()
        flops = 2 * before * (attention + 2 * before * heads) + 2 * after * mlp
        merging_layers = [layer for layer in range(layers) if policy.merges_at(layer)]
        if merging_layers:
            compared = torch.tensor([self._compared(layer, policy) for layer in merging_layers]).double()
            free = before[merging_layers] - self.vit.num_prefix_tokens
            pairs = torch.ceil(free / 2) * torch.floor(free / 2)
            if policy.order == "energy":
                pairs = free.square() * (free > 1)
            flops[merging_layers] += 2 * pairs * compared[:, None]
            if policy.maps is not None:
                flops[merging_layers] += 2 * before[merging_layers] * self.width * compared[:, None]
        return self._embedding_flops + flops.sum(0)

    def _compared(self, layer: int, policy: MergePolicy) -> int:
        """Values per token that the matching compares."""
        if policy.maps is not None:
            return policy.maps.compared(layer)
        if policy.match == "hidden":
            return self.width
        attn = self.vit.blocks[layer].attn
        heads = getattr(attn, "num_kv_heads", attn.num_heads)
        head = int(self._layer_weights[layer, 1]) // attn.num_heads
        return head if policy.match == "key" else heads * head


def _rows(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _joined(parts: list[TokenBatch]) -> list[TokenBatch]:
    """Neighbours in one batch where together they have no more tokens than may run at once; merging makes them so."""
    groups = [parts[:1]]
    total = len(parts[0].values)
    for part in parts[1:]:
        total += len(part.values)
        if total > TOKENS_AT_ONCE:
            groups.append([])
            total = len(part.values)
        groups[-1].append(part)
    return parts if len(groups) == len(parts) else [TokenBatch.cat(group) for group in groups]


def _layer_weights(block: Any) -> tuple[int, int, int]:
    """Weights that each token meets in attention, values that its heads compare, weights that it meets in the MLP."""
    attn = block.attn
    queries = attn.q_proj.weight if attn.qkv is None else attn.qkv.weight
    return _weights(attn), len(queries) // (1 if attn.qkv is None else 3), _weights(block.mlp)


def _weights(part: nn.Module) -> int:
    return sum(linear.weight.numel() for linear in part.modules() if isinstance(linear, nn.Linear))


def first_kernel(embedding: nn.Module) -> Tensor:
    """The kernel ``[out, channels, h, w]`` that sees the pixels."""
    return next(part.weight for part in embedding.modules() if isinstance(part, nn.Conv2d))


def _per_channel(name: str, numbers: Sequence[float], channels: int) -> Tensor:
    """``[1, C, 1, 1]`` from a number for each channel, or one for all of them."""
    values = torch.tensor(tuple(numbers), dtype=torch.float32)
    if len(values) not in (1, channels):
        raise AtmError(f"{name} has {len(values)} numbers for {channels} input channels; give one, or one for each")
    return values.expand(channels).reshape(1, channels, 1, 1).clone()


def _count_flops(embedding: nn.Module, shape: tuple[int, int, int]) -> float:
    """Operations that the patch embedding spends on one image."""
    parameter = next(embedding.parameters())
    was_training = embedding.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        embedding.eval()(torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype))
    embedding.train(was_training)
    return float(counter.get_total_flops())
