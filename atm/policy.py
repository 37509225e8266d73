"""What the device merges: one rule per layer, immutable, readable from and writable to YAML and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from atm import documents
from atm.errors import AtmError, unknown
from atm.maps import Maps
from atm.store import write

Match = Literal["value", "key", "hidden", "learned"]
Average = Literal["norm", "size", "mean"]
Similarity = Literal["cosine", "size-aware"]
Order = Literal["place", "tome", "energy"]
MATCHES: tuple[Match, ...] = ("value", "key", "hidden", "learned")
AVERAGES: tuple[Average, ...] = ("norm", "size", "mean")
SIMILARITIES: tuple[Similarity, ...] = ("cosine", "size-aware")
ORDERS: tuple[Order, ...] = ("place", "tome", "energy")

# Uniform thresholds of the named policies. They are chosen on the embedded victim: `moderate` keeps its accuracy,
# `aggressive` visibly does not.
PRESETS: dict[str, float] = {"none": 1.0, "moderate": 0.9, "aggressive": 0.4}
FIXED: dict[str, Order] = {"tome": "tome", "pitome": "energy"}  # kinds that remove a fixed number at every layer


class _PolicyFields(documents.Fields):
    """What a policy file may say; `MergePolicy` has the meaning."""

    thresholds: list[float]
    remove: list[int] | None = None
    match: str = "value"
    average: str = "norm"
    similarity: str = "cosine"
    order: str = "place"
    proportional_attention: bool = False
    exit_layer: int | None = None
    maps: str | None = None
    maps_digest: str | None = None
    name: str = ""


@dataclass(frozen=True)
class MergePolicy:
    """A merging policy for a transformer of ``len(thresholds)`` layers (arXiv 2509.09955).

    At each layer a source token merges into its most similar destination where their cosine similarity exceeds that
    layer's threshold. A layer with ``remove`` set ignores its threshold and merges that many of the most similar pairs
    instead, which is ToMe's fixed ratio (arXiv 2210.09461), the baseline.

    Attributes:
        thresholds: one per layer in [0, 1]; 1 merges nothing.
        remove: empty, or one count per layer: how many tokens a fixed-ratio policy removes there.
        match: which vectors are compared: the layer's values (the paper), its keys averaged over heads (ToMe), the
            hidden states after attention, or ``learned`` ones, which ``maps`` makes of the layer's normed input.
        average: weights of the merged states: their norms (the paper), sizes (ToMe), or a plain mean.
        similarity: the cosine, or size-aware (arXiv 2505.15160), see `atm.merging.match`.
        order: in which tokens are matched: ``place``, where patches keep their order and alternate among themselves, or
            ``tome``, as in ToMe's own code (`atm.merging`). They leave the encoder in the order of their places.
            ``energy`` lets only tokens merge that many others resemble (PiToMe, `atm.energy`), of a fixed ratio.
        proportional_attention: add the logarithm of the token sizes to the attention scores (ToMe).
        exit_layer: how many layers run on the device before the tokens are sent; None means all of them. Layers after
            the exit run on the server, which merges nothing.
        maps: of learned matching, else None. In a file they are the name of another one beside it, which
            ``atm train merging`` writes, with its SHA-256 as ``maps_digest``.
        name: what reports call this policy.

    Raises:
        AtmError: a threshold outside [0, 1] or NaN, lengths that do not fit each other, or maps and no learned match.
    """

    thresholds: tuple[float, ...]
    remove: tuple[int, ...] = ()
    match: Match = "value"
    average: Average = "norm"
    similarity: Similarity = "cosine"
    order: Order = "place"
    proportional_attention: bool = False
    exit_layer: int | None = None
    maps: Maps | None = None
    name: str = field(default="policy", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", tuple(_number(t, self.name) for t in self.thresholds))
        object.__setattr__(self, "remove", tuple(self.remove))
        for layer, threshold in enumerate(self.thresholds):
            if not 0.0 <= threshold <= 1.0:  # also false for NaN
                raise AtmError(
                    f"policy {self.name!r}: threshold {threshold} of layer {layer} is not in [0, 1]; 1 merges nothing"
                )
        if not self.thresholds:
            raise AtmError(f"policy {self.name!r} has no thresholds; give one per layer")
        if self.remove and len(self.remove) != len(self.thresholds):
            raise AtmError(
                f"policy {self.name!r}: {len(self.remove)} removal counts for {len(self.thresholds)} layers; "
                "give one per layer"
            )
        if any(not isinstance(r, int) or r < 0 for r in self.remove):
            raise AtmError(
                f"policy {self.name!r}: removal counts must be whole numbers from 0, got {list(self.remove)}"
            )
        if self.match not in MATCHES:
            raise unknown("match", str(self.match), MATCHES)
        if self.average not in AVERAGES:
            raise unknown("average", str(self.average), AVERAGES)
        if self.similarity not in SIMILARITIES:
            raise unknown("similarity", str(self.similarity), SIMILARITIES)
        if self.order not in ORDERS:
            raise unknown("order", str(self.order), ORDERS)
        if self.exit_layer is not None and not 1 <= self.exit_layer <= len(self.thresholds):
            raise AtmError(f"policy {self.name!r}: exit layer {self.exit_layer} is not in 1 to {len(self.thresholds)}")
        if (self.match == "learned") != (self.maps is not None):
            raise AtmError(f"policy {self.name!r}: 'match: learned' and a file of maps go together; give both or none")
        if self.maps is not None and len(self.maps) != len(self.thresholds):
            raise AtmError(f"policy {self.name!r} has maps of {len(self.maps)} layers and {self.depth} thresholds")
        if self.order == "energy" and (not self.remove or self.similarity != "cosine"):
            raise AtmError(f"policy {self.name!r}: order energy needs numbers to remove, and compares by the cosine")

    @property
    def depth(self) -> int:
        """Number of transformer layers that this policy is for."""
        return len(self.thresholds)

    @property
    def device_layers(self) -> int:
        """Number of layers that run before the tokens are sent."""
        return self.depth if self.exit_layer is None else self.exit_layer

    def merges_at(self, layer: int) -> bool:
        """Whether this layer has anything to merge; layers that have not are skipped at no cost."""
        if layer >= self.device_layers:
            return False
        return self.remove[layer] > 0 if self.remove else self.thresholds[layer] < 1.0

    @classmethod
    def uniform(cls, threshold: float, depth: int, *, name: str | None = None, **options: Any) -> MergePolicy:
        """The same threshold at every layer."""
        return cls((threshold,) * depth, name=name or f"uniform-{threshold:g}", **options)

    @classmethod
    def fixed_ratio(cls, remove: int, depth: int, *, name: str | None = None, **options: Any) -> MergePolicy:
        """ToMe as published: ``remove`` tokens fewer at every layer, matched on keys, weighted by size."""
        tome: dict[str, Any] = {"match": "key", "average": "size", "order": "tome", "proportional_attention": True}
        return cls((1.0,) * depth, remove=(remove,) * depth, name=name or f"tome-{remove}", **(tome | options))

    @classmethod
    def preset(cls, name: str, depth: int) -> MergePolicy:
        """A policy by name: one of `PRESETS`, ``uniform-0.85``, ``tome-4`` or ``pitome-4``."""
        kind, _, argument = name.rpartition("-")
        if name in PRESETS:
            return cls.uniform(PRESETS[name], depth, name=name)
        if kind == "uniform":
            return cls.uniform(_number(argument, name), depth, name=name)
        if kind in FIXED:
            if not argument.isdecimal():
                raise AtmError(f"policy {name!r}: {argument!r} is no whole number; write for example {kind}-4")
            return cls.fixed_ratio(int(argument), depth, name=name, order=FIXED[kind])
        raise unknown("policy", name, [*PRESETS, "uniform-0.85", "tome-4", "pitome-4"])

    @classmethod
    def read(cls, path: str | Path) -> MergePolicy:
        """A policy from a YAML or JSON file with the fields of this class.

        Raises:
            AtmError: the file cannot be read, is not a mapping, or has unknown or invalid fields.
        """
        asked = documents.typed(_PolicyFields, documents.read(path, "policy"), f"policy file {path}")
        content = asked.model_dump(exclude_unset=True)
        content["name"] = documents.name(content.get("name", Path(path).stem), "policy")
        file, digest = content.pop("maps", None), content.pop("maps_digest", None)
        if file is not None:
            content["maps"] = Maps.read(Path(path).parent / documents.name(file, "maps file"), digest)
        return cls(**{**content, "remove": tuple(content.get("remove") or ())})

    def write(self, path: str | Path) -> None:
        """Write this policy as JSON if the name ends in .json, else as YAML, and its maps, if any, beside it."""
        path = Path(path)
        content = self.as_dict()
        if self.maps is not None:
            self.maps.write(path.parent / content["maps"])
        text = json.dumps(content, indent=2) if path.suffix == ".json" else yaml.safe_dump(content, sort_keys=False)
        write(path, text)

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain lists, numbers and strings; of maps their file and digest, where there are any."""
        content = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("name", "maps")}
        learned = {}
        if self.maps is not None:
            learned = {"maps": f"maps-{self.maps.digest[:12]}.safetensors", "maps_digest": self.maps.digest}
        return {
            "name": self.name,
            **content,
            **learned,
            "thresholds": list(self.thresholds),
            "remove": list(self.remove),
        }

    def for_depth(self, depth: int, width: int | None = None) -> MergePolicy:
        """This policy, if it fits a victim of ``depth`` layers and of a width, where that is given.

        Raises:
            AtmError: it has another number of layers, or its maps are of another width.
        """
        if self.depth != depth:
            raise AtmError(
                f"policy {self.name!r} has {self.depth} thresholds but the victim has {depth} layers; give {depth}"
            )
        if self.maps is not None and width not in (None, self.maps.width):
            raise AtmError(
                f"policy {self.name!r} has maps for tokens of {self.maps.width} values, but the victim's have {width}"
            )
        return self

    def renamed(self, name: str) -> MergePolicy:
        """The same policy under another name."""
        return replace(self, name=name)


def load(name_or_file: str, depth: int) -> MergePolicy:
    """A policy for a victim of ``depth`` layers, by preset name or from a YAML or JSON file.

    Raises:
        AtmError: neither a preset nor a readable file, or a policy for another depth.
    """
    if Path(name_or_file).suffix in {".yaml", ".yml", ".json"} or "/" in name_or_file:
        return MergePolicy.read(name_or_file).for_depth(depth)
    return MergePolicy.preset(name_or_file, depth)


def _number(value: Any, policy: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise AtmError(f"policy {policy!r}: {value!r} is no number; thresholds are numbers in [0, 1]") from None
    return number if not math.isnan(number) else math.nan
