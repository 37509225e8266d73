"""What places tokens, trained once for a victim and kept in a file: where an attack on hidden order begins.

Where a token belongs is learned from signals of any kind, labelled or not, and the more the better (Leggio et al. 2026
take a quarter of ImageNet). An adversary who has them trains once, for one device, and against each policy and channel
she only goes on from there.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atm.errors import AtmError, one_line
from atm.text import printable
from atm.weight_files import HEADER, file_digest, read_weights, write_tensors
from attacks.discriminant import Discriminant
from attacks.matcher import Matcher

TOLD = "discriminant."  # in front of the names of the closed form's tensors
LEARNED, GROUPS = "learned", "groups"
NETWORK = "network."
BYTES = 8  # of the hash of each signal that it learned from


@dataclass(frozen=True)
class Placer:
    """A trained `attacks.alignment.Alignment`.

    Attributes:
        discriminant: its closed form.
        network: that corrects it.
        description: of the system and the data that it was trained for and on, as JSON has them.
        learned: ``[N, 8]`` uint8, the first bytes of the hash of each signal that it learned from.
        groups: ``[G, 8]`` uint8, likewise of the names of groups (`atm.data.groups`) of which it learned from some;
            none where it was trained without.
        digest: SHA-256 of its file, in hex; empty where it is none yet.
    """

    discriminant: Discriminant
    network: Matcher
    description: Mapping[str, Any]
    learned: Tensor
    groups: Tensor = field(default_factory=lambda: short([]))
    digest: str = ""

    @classmethod
    def read(cls, path: Path) -> Placer:
        """One from a file of ``atm train placer``.

        Raises:
            AtmError: the file is missing, damaged, or holds something else.
        """
        description, state = read_weights(path, "placer")
        parts = {name.removeprefix(TOLD): state[name].float() for name in state if name.startswith(TOLD)}
        own = {name.removeprefix(NETWORK): state[name] for name in state if name.startswith(NETWORK)}
        try:
            closed, sizes = description["closed_form"], (int(description["width"]), int(description["layers"]))
            groups = state.get(GROUPS, short([]))
            _check(parts, own, [state[LEARNED], groups], *sizes)
            if len(parts) + len(own) + len({LEARNED, GROUPS} & state.keys()) < len(state):
                raise ValueError("it holds other tensors too")
            known: dict[str, Any] = {**parts, "per_token": closed.get("per_token")}
            known |= {name: bool(closed[name]) for name in ("ordered", "in_place")}
            discriminant = Discriminant(**known)
            _ = f"{description['data']['name']} {description['data']['signals']:,} {description['policy']}"
            _ = description.get("left_out", {}).get("resembling")
        except (AttributeError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            raise AtmError(f"{path} is damaged: it holds no whole placer ({one_line(error)})") from None
        network = Matcher.over(discriminant, *sizes)
        network.load_state_dict(own)
        return cls(discriminant, network.eval(), description, state[LEARNED], groups, file_digest(path))

    def write(self, path: Path) -> None:
        """Write it as safetensors, whole or not at all."""
        parts = _tensors(self.discriminant)
        tensors = {TOLD + name: part for name, part in parts.items()}
        closed = {
            name: part for name, part in vars(self.discriminant).items() if name not in parts and part is not None
        }
        tensors |= {NETWORK + name: part for name, part in self.network.state_dict().items()}
        tensors |= {LEARNED: self.learned, GROUPS: self.groups}
        description = {**self.description, "kind": "placer", "closed_form": closed}
        write_tensors(path, tensors, {HEADER: json.dumps(description, sort_keys=True)})

    @property
    def layer(self) -> int | None:
        """After which the tokens leave the device that it was trained for, where its file says so."""
        return self.description.get("layer")

    @property
    def apart_from(self) -> str | None:
        """The data of whose near-duplicates it learned from none, by name, where its file says so."""
        return self.description.get("left_out", {}).get("resembling")

    def suits(self, own: Discriminant) -> bool:
        """Whether it reads tokens of such a kind: as many features and places, in an order that means as much."""
        mine = self.discriminant
        return mine.slopes.shape == own.slopes.shape and mine.ordered == own.ordered

    def begin(self, own: Discriminant) -> tuple[Discriminant, Matcher]:
        """Copies to go on from, on the device of another closed form.

        Whether tokens that are complete stand in their places is a property of the system that is attacked, a defence
        included, so that it is taken from there.
        """
        device = own.slopes.device
        moved: dict[str, Any] = {name: part.to(device) for name, part in _tensors(self.discriminant).items()}
        discriminant = replace(self.discriminant, **moved, in_place=own.in_place, per_token=own.per_token)
        return discriminant, copy.deepcopy(self.network).to(device)

    def in_words(self, noun: str) -> str:
        """Of a report, a sentence about whoever has it: what it was trained on, and what becomes of it."""
        about = self.description
        learned = f"{about['data']['signals']:,} {noun}s of {about['data']['name']} under policy {about['policy']}"
        return printable(
            f"She learned beforehand where tokens belong, from {learned}, and goes on from that where the order is "
            f"hidden and it places {noun}s of her own better than these alone teach her."
        )

    def knows(self, hashes: Sequence[str]) -> int:
        """How many of some signals, by their hashes, it learned from."""
        return _shared(short(hashes), self.learned)

    def knows_groups(self, names: Sequence[str]) -> int:
        """Of how many of some groups, by their names, it learned from some signals."""
        return _shared(of_groups(names), self.groups)


def _tensors(discriminant: Discriminant) -> dict[str, Tensor]:
    """Those of a closed form, by name."""
    return {name: part for name, part in vars(discriminant).items() if isinstance(part, Tensor)}


def short(hashes: Sequence[str]) -> Tensor:
    """``[N, 8]`` uint8: `Placer.learned` of signals with such hashes."""
    rows = [list(bytes.fromhex(each)[:BYTES]) for each in hashes]
    return torch.tensor(rows, dtype=torch.uint8).reshape(-1, BYTES)


def of_groups(names: Sequence[str]) -> Tensor:
    """``[G, 8]`` uint8: `Placer.groups` of groups with such names."""
    return short([hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest() for name in names])


def _shared(some: Tensor, known: Tensor) -> int:
    return len({bytes(row) for row in some.numpy()} & {bytes(row) for row in known.numpy()})


def _check(
    parts: Mapping[str, Tensor], network: Mapping[str, Tensor], hashes: Sequence[Tensor], width: int, layers: int
) -> None:
    """Raise ``KeyError`` or ``ValueError`` unless the tensors of a file go together, before such a network is made."""
    features, places = parts["slopes"].shape
    wanted = {"mean": (features,), "scale": (features,), "slopes": (features, places), "offsets": (places,)}
    wanted |= {"held": (features + 1,)} if "held" in parts else {}
    if {name: tuple(part.shape) for name, part in parts.items()} != wanted or not features * places:
        raise ValueError("the tensors of the closed form do not go together")
    if width < 4 or width % 4 or not 1 <= layers <= len(network):
        raise ValueError(f"a network of width {width} with {layers} layers is none")
    with torch.device("meta"):  # which takes no memory
        made = Matcher(features, places, width, layers).state_dict()
    if {name: part.shape for name, part in network.items()} != {name: part.shape for name, part in made.items()}:
        raise ValueError(f"its network is not of width {width} with {layers} layers")
    if any(each.dtype != torch.uint8 or each.shape[1:] != (BYTES,) for each in hashes):
        raise ValueError("hashes of what it learned from are missing")
