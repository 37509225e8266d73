"""Who the adversary is: where she taps the link and what she knows. What she may use is decided here, in one place.

An attack is handed an `Observation`, which holds what the threat model grants and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from atm import channels
from atm.errors import AtmError, KnowledgeError, unknown
from atm.knowledge import WORDS, Knowledge
from atm.tokens import TokenBatch
from atm.wire import PLACES

if TYPE_CHECKING:
    from atm.link import Link, Transmission

FEWEST = 20  # images that any attack can learn from
TAPS: dict[str, str] = {
    "server": "is the server itself, or has taken it over: she sees the tokens that it decodes",
    "eavesdropper": "listens on the air with her own antenna: she sees the radio symbols through her own channel",
    "before-codec": "sits on the device, behind its encoder and defence: she sees the tokens before codec and noise",
}


@dataclass(frozen=True)
class ThreatModel:
    """An adversary.

    Attributes:
        name: what reports call her.
        tap: ``server``, ``eavesdropper`` or ``before-codec``.
        knows: everything that she knows beside the tokens. Without ``ORDER`` the patch tokens of each image reach her
            shuffled (protected ones stay first); a merge map that she has all the same, of what she runs herself, is
            that of the shuffled tokens.
        channel: an eavesdropper's own channel, such as ``awgn:5``; None is one as good as the server's.
        auxiliary: the most auxiliary images that she has; None leaves it to the evaluation.
        shifted: whether these come from another distribution than the victims'.
        queries: the most images of her own that she can send through the device; None sets no limit.

    Raises:
        AtmError: an unknown tap or channel, a channel for an adversary who is no eavesdropper, or too small a number.
    """

    name: str
    tap: str = "server"
    knows: Knowledge = Knowledge.EVERYTHING
    channel: str | None = None
    auxiliary: int | None = None
    shifted: bool = False
    queries: int | None = None

    def __post_init__(self) -> None:
        if self.tap not in TAPS:
            raise unknown("tap", self.tap, TAPS)
        if self.channel is not None:
            channels.parse(self.channel)
            if self.tap != "eavesdropper":
                raise AtmError(
                    f"threat model {self.name!r}: only an eavesdropper has a channel of her own; drop 'channel'"
                )
        for what, number in (("auxiliary", self.auxiliary), ("queries", self.queries)):
            if number is not None and number < FEWEST:
                raise AtmError(f"threat model {self.name!r}: {what} is {number}, give {FEWEST} or more")

    def with_knowledge(self, more: Knowledge) -> ThreatModel:
        """The same adversary with more knowledge, as she has it of what she runs herself."""
        return replace(self, knows=self.knows | more)

    def without_knowledge(self, less: Knowledge) -> ThreatModel:
        """The same adversary with less knowledge; one who loses the order loses the merge map, which tells it."""
        if Knowledge.ORDER in less:
            less |= Knowledge.MERGE_MAP
        return replace(self, knows=self.knows & ~less)

    def require(self, needs: Knowledge, attack: str) -> None:
        """Raise `KnowledgeError` unless she knows all that an attack needs."""
        missing = needs & ~self.knows
        if missing:
            words = ", ".join(WORDS[flag] for flag in missing)
            raise KnowledgeError(f"attack {attack!r} needs {words}, which threat model {self.name!r} denies")

    def on(self, link: Link) -> ThreatModel:
        """The same adversary as she is against one link: she also knows what is on its wire, and no longer what its
        defence's secret randomness keeps from her.
        """
        told = link.wire.tells if self.tap != "before-codec" else Knowledge.NOTHING
        knows = (self.knows | told) & ~link.denies
        return replace(self, knows=knows) if knows != self.knows else self

    @property
    def runs_the_device(self) -> bool:
        """Whether she has all that it takes to send images through a device of her own, for which nobody counts."""
        needs = Knowledge.WEIGHTS | Knowledge.POLICY
        return (needs if self.tap == "before-codec" else needs | Knowledge.CODEC) in self.knows

    def observe(self, transmission: Transmission, link: Link, seed: int = 0) -> Observation:
        """What she sees of a transmission.

        Args:
            transmission: over ``link``.
            link: the system; an eavesdropper decodes with its codec.
            seed: of the noise on her own channel, and of the order in which she finds tokens whose order she lacks.
        """
        return self._see(transmission, link, seed, self.on(link).knows)

    def rehearse(self, transmission: Transmission, link: Link, seed: int = 0) -> Observation:
        """What `observe` shows, with the merge map that she knows of images which she sent through her own device.

        Raises:
            KnowledgeError: she has no device of her own.
        """
        self.require(Knowledge.WEIGHTS | Knowledge.POLICY, "a rehearsal")
        return self._see(transmission, link, seed, self.on(link).knows | Knowledge.MERGE_MAP)

    def true_map(self, transmission: Transmission, link: Link, seed: int = 0) -> Tensor:
        """``[B, P]`` int64: the merge map of what `observe` shows; an evaluator scores by it, no attack is given it."""
        source = self._see(transmission, link, seed, self.on(link).knows | Knowledge.MERGE_MAP).tokens.source
        assert source is not None
        return source

    def _see(self, transmission: Transmission, link: Link, seed: int, knows: Knowledge) -> Observation:
        tokens, rows = self._tapped(transmission, link, seed), torch.arange(len(transmission.on_air))
        symbols, snr_db, side = transmission.received_symbols, transmission.snr_db, transmission.side
        if self.tap == "before-codec":
            symbols, snr_db, side = symbols[:, :0], math.inf, side[:, :0]
        if self.tap == "eavesdropper":
            heard = self._heard(transmission, link, seed)
            symbols, snr_db = heard.symbols, heard.snr_db
        if self.tap == "server" or Knowledge.SIZES in knows:  # she knows which tokens are padding
            tokens, rows = tokens.without_padding()
        if Knowledge.ORDER not in knows:
            tokens, order = tokens.shuffled(torch.Generator().manual_seed(seed))
            rows = rows[order.cpu()]
        rows = rows.to(symbols.device)
        places = Knowledge.MERGE_MAP in knows or (PLACES in link.wire.fields and self.tap != "before-codec")
        return Observation(
            tokens=replace(
                tokens,
                sizes=tokens.sizes if Knowledge.SIZES in knows else None,
                source=tokens.source if Knowledge.MERGE_MAP in knows else None,
                places=tokens.places if places else None,
            ),
            symbols=symbols[rows],
            side=side,
            snr_db=_of_rows(snr_db, rows) if Knowledge.SNR in knows else None,
        )

    def _heard(self, transmission: Transmission, link: Link, seed: int) -> channels.Received:
        channel = link.channel if self.channel is None else channels.parse(self.channel)
        return link.tune_in(
            channel, transmission.on_air, transmission.sent.lengths, torch.Generator().manual_seed(seed)
        )

    def _tapped(self, transmission: Transmission, link: Link, seed: int) -> TokenBatch:
        """The tokens at her tap, with all that the sender knows of them."""
        sent = transmission.sent
        if self.tap == "before-codec":
            return sent
        if self.tap == "server":
            return sent.with_values(transmission.received.values)
        heard = self._heard(transmission, link, seed)
        if Knowledge.CODEC in self.knows:
            told = sent if Knowledge.SIZES in self.on(link).knows else replace(sent, sizes=None)  # not even of padding
            return sent.with_values(link.receive(heard.symbols, transmission.side, told, heard.snr_db).values)
        return sent.with_values(torch.view_as_real(heard.symbols).flatten(1))  # she cannot decode them

    def describe(self) -> str:
        """The threat model in a few sentences."""
        known = ", ".join(WORDS[flag] for flag in Knowledge.EVERYTHING if flag in self.knows) or "nothing else"
        denied = ", ".join(WORDS[flag] for flag in Knowledge.EVERYTHING if flag not in self.knows)
        air = f" ({self.channel or 'as good as the server’s'})" if self.tap == "eavesdropper" else ""
        if self.shifted:
            known = known.replace("of the same distribution", "of another distribution")
        return " ".join(
            [f"The adversary {TAPS[self.tap]}{air}. She knows {known}."]
            + [f"She does not know {denied}."] * bool(denied)
            + [f"She has at most {self.auxiliary} auxiliary images."] * (self.auxiliary is not None)
            + [f"She can send at most {self.queries} images through the device."] * (self.queries is not None)
        )

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain strings and lists; `from_dict` reads it again."""
        knows = [str(flag.name).lower() for flag in Knowledge.EVERYTHING if flag in self.knows]
        return {**asdict(self), "knows": knows}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str = "threat model") -> ThreatModel:
        """A threat model from plain values.

        Raises:
            AtmError: an unknown field, tap or piece of knowledge.
        """
        allowed = [field.name for field in fields(cls)]
        for key in content:
            if key not in allowed:
                raise AtmError(f"{where}: {unknown('field', str(key), allowed)}")
        flags = {str(flag.name).lower(): flag for flag in Knowledge.EVERYTHING}
        knows = Knowledge.NOTHING
        for word in content.get("knows", list(flags)):
            if word not in flags:
                raise AtmError(f"{where}: {unknown('knowledge', str(word), flags)}")
            knows |= flags[word]
        if Knowledge.MERGE_MAP in knows and Knowledge.ORDER not in knows:
            raise AtmError(f"{where}: the merge map tells the order of the tokens; grant 'order' or drop 'merge_map'")
        name, tap, channel = content.get("name", "custom"), content.get("tap", "server"), content.get("channel")
        numbers = {key: _number(content.get(key), key, where) for key in ("auxiliary", "queries")}
        shifted = content.get("shifted", False)
        if not isinstance(shifted, bool):
            raise AtmError(f"{where}: shifted is {shifted!r}, expected true or false")
        return cls(str(name), str(tap), knows, None if channel is None else str(channel), shifted=shifted, **numbers)


@dataclass(frozen=True)
class Observation:
    """What one adversary sees of ``B`` images; what her threat model denies is None.

    Attributes:
        tokens: the tokens as she decodes them, or if she eavesdrops without the codec the symbols of each as ``2 k``
            real values; without sizes or merge map where she does not know them.
        symbols: ``[T, k]`` complex64, the radio symbols as her antenna gave them.
        side: ``[B, s]`` float, what the codec sent beside its symbols; nothing before the codec.
        snr_db: her signal-to-noise ratio: one number, or ``[B]`` where it differs between images.
    """

    tokens: TokenBatch
    symbols: Tensor
    side: Tensor
    snr_db: float | Tensor | None

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, images: Tensor) -> Observation:
        """What was seen of some images, by their numbers ``[n]``."""
        tokens = self.tokens.with_values(torch.arange(len(self.tokens.values))).select(images)
        snr = self.snr_db
        return Observation(
            tokens=self.tokens.select(images),
            symbols=self.symbols[tokens.values],
            side=self.side[images.to(self.side.device)],
            snr_db=snr[images] if isinstance(snr, Tensor) and snr.ndim == 1 else snr,
        )

    def without_map(self, keep_places: bool = False) -> Observation:
        """The same, its merge map forgotten, and the places of its tokens unless these are on the wire."""
        places = self.tokens.places if keep_places else None
        return replace(self, tokens=replace(self.tokens, source=None, places=places))


def _of_rows(snr_db: float | Tensor, rows: Tensor) -> float | Tensor:
    return snr_db[rows] if isinstance(snr_db, Tensor) and snr_db.ndim == 2 else snr_db


PRESETS: dict[str, ThreatModel] = {
    "server": ThreatModel("server"),
    "eavesdropper": ThreatModel("eavesdropper", tap="eavesdropper"),
    "stranger": ThreatModel("stranger", tap="eavesdropper", knows=Knowledge.EVERYTHING & ~Knowledge.CODEC),
    "server-no-map": ThreatModel("server-no-map").without_knowledge(Knowledge.MERGE_MAP | Knowledge.SIZES),
    "server-shuffled": ThreatModel("server-shuffled").without_knowledge(Knowledge.ORDER | Knowledge.SIZES),
    "server-no-snr": ThreatModel("server-no-snr").without_knowledge(Knowledge.SNR),
    "server-few": ThreatModel("server-few", auxiliary=200),
    "server-shifted": ThreatModel("server-shifted", shifted=True),
    "black-box": ThreatModel("black-box", queries=1000).without_knowledge(Knowledge.WEIGHTS | Knowledge.CODEC),
    "before-codec": ThreatModel("before-codec", tap="before-codec"),
}


def _number(value: Any, key: str, where: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise AtmError(f"{where}: {key} is {value!r}, expected a whole number")
    return value


def load(name_or_file: str) -> ThreatModel:
    """A threat model by preset name, ``eavesdropper:awgn:5`` for one with a channel of her own, or from a YAML file.

    Raises:
        AtmError: no such preset, or a file that describes none.
    """
    if Path(name_or_file).suffix in {".yaml", ".yml", ".json"}:
        try:
            content = yaml.safe_load(Path(name_or_file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise AtmError(f"threat model file {name_or_file} cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(content, dict):
            raise AtmError(f"threat model file {name_or_file} needs fields such as name, tap and knows")
        return ThreatModel.from_dict(content, f"threat model file {name_or_file}")
    preset, _, channel = name_or_file.partition(":")
    if preset not in PRESETS:
        raise unknown("threat model", preset, PRESETS)
    return replace(PRESETS[preset], name=name_or_file, channel=channel or None)
