"""Learned matching: one linear map a layer, of whose results the cosines decide (DTEM, arXiv 2412.10569)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import linear

from atm.errors import AtmError
from atm.store import write
from atm.weight_files import HEADER, file_digest, read_weights

KIND = "merging"  # what a file of maps says that it is


@dataclass(frozen=True, eq=False, repr=False)
class Maps:
    """One linear map for each layer, from a block's normed input to the vectors that are compared.

    Two are equal where their digests are.

    Attributes:
        weights: one ``[m, d]`` for each layer; d is the victim's width.
        biases: one ``[m]`` for each layer.
        description: what is known of them, such as the victim that they were learned for.

    Raises:
        AtmError: weights and biases that do not fit each other.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    description: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        widths = {tuple(weight.shape[1:]) for weight in self.weights}
        fitting = [
            w.ndim == 2 and w.numel() > 0 and b.shape == w.shape[:1] and w.is_floating_point() and b.is_floating_point()
            for w, b in zip(self.weights, self.biases, strict=False)
        ]
        if len(self.weights) != len(self.biases) or len(widths) != 1 or not all(fitting):
            raise AtmError("maps of a learned matching need a matrix and a bias for each layer, all of one width")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Maps) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Maps({self.digest})"

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def width(self) -> int:
        """Values of a token that they take."""
        return self.weights[0].shape[1]

    def compared(self, layer: int) -> int:
        """Values of a token that are compared at a layer."""
        return len(self.weights[layer])

    def apply(self, layer: int, x: Tensor) -> Tensor:
        """``[T, m]`` of a layer's normed input ``[T, d]``."""
        return linear(x, self.weights[layer].to(x), self.biases[layer].to(x))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file that `write` makes, in hex."""
        return hashlib.sha256(self._content).hexdigest()

    @cached_property
    def _content(self) -> bytes:
        parts = {f"{layer}.weight": weight for layer, weight in enumerate(self.weights)}
        parts |= {f"{layer}.bias": bias for layer, bias in enumerate(self.biases)}
        plain = {name: tensor.detach().float().cpu().clone().contiguous() for name, tensor in sorted(parts.items())}
        return save(plain, {HEADER: json.dumps({**self.description, "kind": KIND}, sort_keys=True)})

    def write(self, path: Path) -> None:
        """Write them as safetensors, whole or not at all."""
        write(path, self._content)

    @classmethod
    def of(cls, layers: Sequence[tuple[Tensor, Tensor]], description: Mapping[str, Any]) -> Maps:
        """From weight and bias of each layer, as they are now."""
        weights, biases = zip(*((w.detach().cpu().clone(), b.detach().cpu().clone()) for w, b in layers), strict=True)
        return cls(weights, biases, dict(description))

    @classmethod
    def read(cls, path: Path, digest: str | None = None) -> Maps:
        """From a file of ``atm train merging``.

        Args:
            path: the file.
            digest: SHA-256 that it should have; None takes any.

        Raises:
            AtmError: the file cannot be read, holds something else, or has another digest.
        """
        description, state = read_weights(path, KIND)
        if digest is not None and file_digest(path) != digest:
            raise AtmError(f"maps {path} are not those that the policy was made with: their SHA-256 differs")
        depth = len(state) // 2
        names = [f"{layer}.{part}" for layer in range(depth) for part in ("weight", "bias")]
        if not depth or set(names) != set(state):
            raise AtmError(f"maps {path} have no weight and bias for each layer; write them with 'atm train merging'")
        return cls(
            tuple(state[f"{layer}.weight"] for layer in range(depth)),
            tuple(state[f"{layer}.bias"] for layer in range(depth)),
            description,
        )
