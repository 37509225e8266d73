"""What places tokens, trained once for a victim and kept in a file: where an attack on hidden order begins.

Where a token belongs is learned from signals of any kind, labelled or not, and the more the better (Leggio et al. 2026
take a quarter of ImageNet). An adversary who has them trains once, for one device, and against each policy and channel
she only goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atm.errors import AtmError
from atm.weight_files import HEADER, file_digest, load_state, read_weights, write_tensors
from attacks.discriminant import Discriminant
from attacks.matcher import Matcher

TOLD = "discriminant."  # in front of the names of the closed form's tensors
LEARNED = "learned"
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
        digest: SHA-256 of its file, in hex; empty where it is none yet.
    """

    discriminant: Discriminant
    network: Matcher
    description: Mapping[str, Any]
    learned: Tensor
    digest: str = ""

    @classmethod
    def read(cls, path: Path) -> Placer:
        """One from a file of ``atm train placer``.

        Raises:
            AtmError: the file is missing, damaged, or holds something else.
        """
        description, state = read_weights(path, "placer")
        try:
            closed, sizes = description["closed_form"], (int(description["width"]), int(description["layers"]))
            parts: dict[str, Any] = {name.removeprefix(TOLD): state[name] for name in state if name.startswith(TOLD)}
            discriminant = Discriminant(**parts, **closed)
            learned = state[LEARNED]
            _ = f"{description['data']['name']} {description['data']['signals']:,} {description['policy']}"
        except (KeyError, TypeError, ValueError) as error:
            raise AtmError(f"{path} is damaged: it holds no whole placer ({error})") from None
        network = Matcher.over(discriminant, *sizes)
        own = {name.removeprefix(NETWORK): state[name] for name in state if name.startswith(NETWORK)}
        load_state(network, own, path)
        return cls(discriminant, network.eval(), description, learned, file_digest(path))

    def write(self, path: Path) -> None:
        """Write it as safetensors, whole or not at all."""
        parts = {each.name: getattr(self.discriminant, each.name) for each in fields(self.discriminant)}
        tensors = {TOLD + name: part for name, part in parts.items() if isinstance(part, Tensor)}
        closed = {name: part for name, part in parts.items() if not isinstance(part, Tensor) and part is not None}
        tensors |= {NETWORK + name: part for name, part in self.network.state_dict().items()}
        tensors[LEARNED] = self.learned
        description = {**self.description, "kind": "placer", "closed_form": closed}
        write_tensors(path, tensors, {HEADER: json.dumps(description, sort_keys=True)})

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
        parts = {each.name: getattr(self.discriminant, each.name) for each in fields(self.discriminant)}
        moved: dict[str, Any] = {name: part.to(device) for name, part in parts.items() if isinstance(part, Tensor)}
        discriminant = replace(self.discriminant, **moved, in_place=own.in_place, per_token=own.per_token)
        network = Matcher.over(discriminant, int(self.description["width"]), int(self.description["layers"]))
        network.load_state_dict(self.network.state_dict())
        return discriminant, network

    def in_words(self, noun: str) -> str:
        """Of a report: what it was trained on."""
        about = self.description
        learned = f"{about['data']['signals']:,} {noun}s of {about['data']['name']}"
        return f"where tokens belong was learned beforehand from {learned}, under policy {about['policy']}"

    def knows(self, hashes: Sequence[str]) -> int:
        """How many of some signals, by their hashes, it learned from."""
        mine = {bytes(row) for row in self.learned.numpy()}
        return sum(bytes.fromhex(each)[:BYTES] in mine for each in hashes)


def short(hashes: Sequence[str]) -> Tensor:
    """``[N, 8]`` uint8: `Placer.learned` of signals with such hashes."""
    rows = [list(bytes.fromhex(each)[:BYTES]) for each in hashes]
    return torch.tensor(rows, dtype=torch.uint8).reshape(-1, BYTES)
