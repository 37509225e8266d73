"""Who the adversary is: where she taps the link and what she knows. What she may use is decided here, in one place.

An attack is handed an `Observation`, which holds what the threat model grants and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atm import channels, documents
from atm.errors import AtmError, KnowledgeError, unknown
from atm.knowledge import WORDS, Knowledge
from atm.link import Link, Transmission, cat_snr
from atm.signals import ImageSignal, Signal
from atm.text import counted
from atm.tokens import TokenBatch
from atm.wire import PLACES

FEWEST = 20  # images that any attack can learn from
TAPS: dict[str, str] = {
    "server": "is the server itself, or has taken it over: she sees the tokens that it decodes",
    "eavesdropper": "listens on the air with her own antenna: she sees the radio symbols through her own channel",
    "before-codec": "sits on the device, behind its encoder and defence: she sees the tokens before codec and noise",
}


class _ThreatFields(documents.Fields):
    """What a threat model file may say; `ThreatModel` has the meaning."""

    name: str = "custom"
    tap: str = "server"
    knows: list[str] | None = None
    channel: str | None = None
    auxiliary: int | None = None
    shifted: bool = False
    queries: int | None = None


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
            words = ", ".join(_in_words(flag, ImageSignal) for flag in missing)
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
        return self.told(self.hear(transmission, link, seed), link, seed)

    def true_map(self, heard: Observation, link: Link, seed: int = 0) -> Tensor:
        """``[B, P]`` int64: the merge map of what `told` shows; an evaluator scores by it, no attack is given it."""
        source = self._known(heard, link, seed, self.on(link).knows | Knowledge.MERGE_MAP).tokens.source
        assert source is not None
        return source

    def hear(self, transmission: Transmission, link: Link, seed: int = 0) -> Observation:
        """What reaches her, with all that there is to know of it; no attack is given that: see `told`.

        Args:
            transmission: over ``link``.
            link: the system.
            seed: of the noise on her own channel.
        """
        sent = transmission.sent
        if self.tap == "before-codec":
            return Observation(sent, transmission.received_symbols[:, :0], transmission.side[:, :0], math.inf)
        if self.tap == "server":
            tokens = sent.with_values(transmission.received.values)
            return Observation(tokens, transmission.received_symbols, transmission.side, transmission.snr_db)
        return self.overhear(sent, transmission.on_air, transmission.side, link, seed)

    def overhear(self, sent: TokenBatch, on_air: Tensor, side: Tensor, link: Link, seed: int = 0) -> Observation:
        """What an eavesdropper's antenna and decoder give her of symbols ``[T, k]`` on the air.

        Args:
            sent: the tokens that they carry, of which no values are read.
            on_air: as they were radiated.
            side: ``[B, s]``, what the codec sent beside them.
            link: the system.
            seed: of the noise on her own channel.
        """
        channel = link.channel if self.channel is None else channels.parse(self.channel)
        heard = link.tune_in(channel, on_air, sent.lengths, torch.Generator().manual_seed(seed))
        values = torch.view_as_real(heard.symbols).flatten(1)  # she cannot decode them, unless
        if Knowledge.CODEC in self.knows:
            told = sent if Knowledge.SIZES in self.on(link).knows else replace(sent, sizes=None)  # not even of padding
            values = link.receive(heard.symbols, side, told, heard.snr_db).values
        return Observation(sent.with_values(values), heard.symbols, side, heard.snr_db)

    def ears(self, link: Link) -> ThreatModel:
        """The adversary without what `hear` does not ask for: whoever has the same ears hears the same."""
        asked = Knowledge.CODEC | Knowledge.SIZES if self.tap == "eavesdropper" else Knowledge.NOTHING
        return ThreatModel("", self.tap, self.on(link).knows & asked, self.channel)

    def told(self, heard: Observation, link: Link, seed: int = 0, own: bool = False) -> Observation:
        """What she knows of what reaches her.

        Args:
            heard: from `hear`; its values may be anything, such as the numbers of rows that are kept elsewhere.
            link: the system.
            seed: of the order in which she finds tokens whose order she lacks.
            own: whether she sent it through her own device, and therefore has its merge map.

        Raises:
            KnowledgeError: it is her own, and she has no device of her own.
        """
        if own:
            self.require(Knowledge.WEIGHTS | Knowledge.POLICY, "a rehearsal")
        return self._known(heard, link, seed, self.on(link).knows | (Knowledge.MERGE_MAP if own else Knowledge.NOTHING))

    def _known(self, heard: Observation, link: Link, seed: int, knows: Knowledge) -> Observation:
        tokens, rows, symbols = heard.tokens, torch.arange(len(heard.symbols)), heard.symbols
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
            side=heard.side,
            snr_db=_of_rows(heard.snr_db, rows) if Knowledge.SNR in knows else None,
        )

    def describe(self, signal: type[Signal] = ImageSignal) -> str:
        """The threat model in a few sentences, in the words of a kind of signal."""
        known, denied = (
            ", ".join(_in_words(flag, signal) for flag in Knowledge.EVERYTHING if (flag in self.knows) == told)
            for told in (True, False)
        )
        known = known or "nothing else"
        air = f" ({self.channel or 'as good as the server’s'})" if self.tap == "eavesdropper" else ""
        if self.shifted:
            known = known.replace("of the same distribution", "of another distribution")
        told = [f"The adversary {TAPS[self.tap]}{air}. She knows {known}."]
        if denied:
            told.append(f"She does not know {denied}.")
        if self.auxiliary is not None:
            told.append(f"She has at most {counted(self.auxiliary, f'auxiliary {signal.noun}')}.")
        if self.queries is not None:
            told.append(f"She can send at most {counted(self.queries, signal.noun)} through the device.")
        return " ".join(told)

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
        asked = documents.typed(_ThreatFields, dict(content), where)
        flags = {str(flag.name).lower(): flag for flag in Knowledge.EVERYTHING}
        knows = Knowledge.NOTHING
        for word in list(flags) if asked.knows is None else asked.knows:
            if word not in flags:
                raise AtmError(f"{where}: {unknown('knowledge', str(word), flags)}")
            knows |= flags[word]
        if Knowledge.MERGE_MAP in knows and Knowledge.ORDER not in knows:
            raise AtmError(f"{where}: the merge map tells the order of the tokens; grant 'order' or drop 'merge_map'")
        documents.name(asked.name, "threat model")
        return cls(**{**asked.model_dump(), "knows": knows})


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

    @classmethod
    def cat(cls, parts: Sequence[Observation]) -> Observation:
        """What was seen of several batches as one."""
        return cls(
            tokens=TokenBatch.cat([part.tokens for part in parts]),
            symbols=torch.cat([part.symbols for part in parts]),
            side=torch.cat([part.side for part in parts]),
            snr_db=cat_snr([part.snr_db for part in parts]),
        )

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


def _of_rows(snr_db: float | Tensor | None, rows: Tensor) -> float | Tensor | None:
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


def load(name_or_file: str) -> ThreatModel:
    """A threat model by preset name, ``eavesdropper:awgn:5`` for one with a channel of her own, or from a YAML file.

    Raises:
        AtmError: no such preset, or a file that describes none.
    """
    if Path(name_or_file).suffix in {".yaml", ".yml", ".json"}:
        content = documents.read(name_or_file, "threat model")
        return ThreatModel.from_dict(content, f"threat model file {name_or_file}")
    preset, _, channel = name_or_file.partition(":")
    if preset not in PRESETS:
        raise unknown("threat model", preset, PRESETS)
    return replace(PRESETS[preset], name=name_or_file, channel=channel or None)


def _in_words(flag: Knowledge, signal: type[Signal]) -> str:
    return WORDS[flag].format(noun=signal.noun, parts=signal.parts)
