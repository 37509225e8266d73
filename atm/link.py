"""`Link`: encoder, defence, codec, channel and task head in one object; everything between an image and an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor

from atm.channels import Channel, Noiseless, Received
from atm.codec import Codec, UncodedAnalog
from atm.defence import Defence
from atm.encoder import Encoded, Encoder
from atm.encodings import Encodings
from atm.errors import AtmError
from atm.knowledge import Knowledge
from atm.policy import MergePolicy
from atm.rows import Rows
from atm.signals import Signal
from atm.tokens import TokenBatch
from atm.wire import Wire

S = TypeVar("S")


@dataclass(frozen=True)
class Transmission:
    """Everything that existed on the way of ``B`` images from the device to the server.

    No adversary sees all of it; what each one sees is an `atm.threat.Observation`.

    Attributes:
        sent: the tokens that left the encoder (and the defence).
        on_air: ``[T, k]`` complex64, the symbols that the device radiated; average power 1 per image.
        side: ``[B, s]`` float, what the codec sent beside them, free of error.
        received_symbols: ``[T, k]`` complex64, what the server's antenna gave.
        received: the tokens that the server decoded, with what else of them is on the wire.
        logits: ``[B, classes]``, the server's answer.
        flops: ``[B]`` float64, what the device computed for each image in its encoder.
        coding_flops: ``[B]`` float64, what it computed in its defence and codec.
        symbols: ``[B]`` int64, channel uses of each image, header included.
        header: ``[B]`` int64, those of the header alone.
        snr_db: what the server's receiver measured: one number, ``[B]`` where it differs between images, or ``[T, k]``
            for a codec that uses the SNR of every symbol.
    """

    sent: TokenBatch
    on_air: Tensor
    side: Tensor
    received_symbols: Tensor
    received: TokenBatch
    logits: Tensor
    flops: Tensor
    coding_flops: Tensor
    symbols: Tensor
    header: Tensor
    snr_db: float | Tensor

    def __len__(self) -> int:
        return len(self.sent)

    @classmethod
    def cat(cls, parts: Sequence[Transmission]) -> Transmission:
        """The transmissions of several batches as one."""
        return cls(
            sent=TokenBatch.cat([p.sent for p in parts]),
            on_air=torch.cat([p.on_air for p in parts]),
            side=torch.cat([p.side for p in parts]),
            received_symbols=torch.cat([p.received_symbols for p in parts]),
            received=TokenBatch.cat([p.received for p in parts]),
            logits=torch.cat([p.logits for p in parts]),
            flops=torch.cat([p.flops for p in parts]),
            coding_flops=torch.cat([p.coding_flops for p in parts]),
            symbols=torch.cat([p.symbols for p in parts]),
            header=torch.cat([p.header for p in parts]),
            snr_db=cat_snr([p.snr_db for p in parts]),
        )


class Link:
    """The system under test.

    Args:
        encoder: the victim.
        policy: what the device merges.
        codec: tokens to symbols and back; None sends them uncoded.
        channel: between device and server; None is noiseless.
        defence: what the device does to the tokens before they are coded; None does nothing.

    Raises:
        AtmError: the defence was fitted to the tokens of another layer.
    """

    def __init__(
        self,
        encoder: Encoder,
        policy: MergePolicy,
        codec: Codec | None = None,
        channel: Channel | None = None,
        defence: Defence | None = None,
    ) -> None:
        self.encoder = encoder
        self.policy = policy.for_depth(encoder.depth, encoder.width)
        self.codec: Codec = codec if codec is not None else UncodedAnalog(encoder.width)
        self.channel: Channel = channel if channel is not None else Noiseless()
        self.defence = defence
        if defence is not None and defence.fitted_at not in (None, self.policy.device_layers):
            raise AtmError(
                f"policy {self.policy.name!r} sends after layer {self.policy.device_layers}, but defence "
                f"{defence.name!r} was fitted to the tokens of layer {defence.fitted_at}"
            )

    @cached_property
    def wire(self) -> Wire:
        """What this link sends, and how."""
        return Wire.of(
            side=self.codec.sends_side,
            sizes=self.encoder.counts_sizes(self.policy),
            padding=self.defence is not None and self.defence.pads,
            places=self.encoder.uses_places and self.policy.device_layers < self.encoder.depth,
            drops=not self.signal.fills or (self.defence is not None and self.defence.drops),
        )

    @cached_property
    def device(self) -> torch.device:
        """Where the victim lives, and with it all tensors of a transmission but lengths and counts."""
        return next(chain(self.encoder.parameters(), self.encoder.buffers()), torch.empty(0)).device

    @property
    def signal(self) -> Signal:
        """What goes in, and what an attack gives back."""
        return self.encoder.signal

    @property
    def denies(self) -> Knowledge:
        """What the defence's secret randomness keeps from every adversary."""
        return Knowledge.NOTHING if self.defence is None else self.defence.denies

    def with_policy(self, policy: MergePolicy) -> Link:
        """The same system under another policy that sends after the same layer.

        Raises:
            AtmError: it sends after another layer, for whose tokens the codec or the defence was not made.
        """
        policy = policy.for_depth(self.encoder.depth)
        if policy.device_layers != self.policy.device_layers and self.codec.learned:
            raise AtmError(
                f"policy {policy.name!r} sends after layer {policy.device_layers}, but codec {self.codec.name!r} was "
                f"made for the tokens of layer {self.policy.device_layers}"
            )
        return Link(self.encoder, policy, self.codec, self.channel, self.defence)

    def with_defence(self, defence: Defence | None) -> Link:
        """The same system under another defence."""
        return Link(self.encoder, self.policy, self.codec, self.channel, defence)

    def with_codec(self, codec: Codec) -> Link:
        """The same system with another codec."""
        return Link(self.encoder, self.policy, codec, self.channel, self.defence)

    def over(self, channel: Channel) -> Link:
        """The same system over another channel."""
        return Link(self.encoder, self.policy, self.codec, channel, self.defence)

    def send(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> tuple[TokenBatch, Tensor, Tensor, Tensor]:
        """The device's part, differentiable: tokens, symbols ``[T, k]``, side information and FLOPs ``[B]``."""
        encoded = self.encoder(images, self.policy)
        return *self.emit(encoded.tokens, generator), encoded.flops

    def emit(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> tuple[TokenBatch, Tensor, Tensor]:
        """What leaves a device whose encoder ends with some tokens: tokens, symbols ``[T, k]``, side information."""
        tokens = tokens if self.defence is None else self.defence.protect(tokens, generator)
        symbols, side = self.codec.encode(tokens, self.channel.snr_db)
        return tokens, symbols, side

    def emit_expected(self, tokens: TokenBatch) -> tuple[TokenBatch, Tensor, Tensor]:
        """As `emit`, with what is expected of the defence in place of its random draw."""
        tokens = tokens if self.defence is None else self.defence.expected(tokens)
        symbols, side = self.codec.encode(tokens, self.channel.snr_db)
        return tokens, symbols, side

    def receive(self, symbols: Tensor, side: Tensor, sent: TokenBatch, snr_db: float | Tensor) -> TokenBatch:
        """The receiver's part: tokens from symbols at one SNR in dB, or one for each image ``[B]``.

        It is told of ``sent`` what is on the wire, and nothing else.
        """
        told = self.wire.delivered(sent)
        return told.with_values(self.codec.decode(symbols, side, told, snr_db))

    def tune_in(
        self, channel: Channel, symbols: Tensor, lengths: Tensor, generator: torch.Generator | None
    ) -> Received:
        """What arrives over a channel, the server's or another's, in the form that the codec decodes best."""
        return self.tuned(channel.carry(symbols, generator, lengths), lengths)

    def tuned(self, arrived: Received, lengths: Tensor) -> Received:
        """What an antenna gave, in the form that the codec decodes best."""
        return arrived if self.codec.soft else Received(*arrived.per_image(lengths))

    def answer(self, received: TokenBatch) -> Tensor:
        """The rest of the server's part: logits ``[B, classes]`` from the tokens that it decoded."""
        return self.encoder.finish(received.without_padding()[0], self.policy)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Transmission:
        """One batch from end to end, differentiable in ``images``."""
        return self.relay(self.encoder(images, self.policy), generator)

    def relay(self, encoded: Encoded, generator: torch.Generator | None = None) -> Transmission:
        """The way of one batch from the end of the encoder on."""
        tokens, symbols, side = self.emit(encoded.tokens, generator)
        arrived = self.tune_in(self.channel, symbols, tokens.lengths, generator)
        received = self.receive(arrived.symbols, side, tokens, arrived.snr_db)
        header = self.wire.header_symbols(tokens, side)
        coding = self.codec.flops(tokens.lengths)
        return Transmission(
            sent=tokens,
            on_air=symbols,
            side=side,
            received_symbols=arrived.symbols,
            received=received,
            logits=self.answer(received),
            flops=encoded.flops,
            coding_flops=coding if self.defence is None else coding + self.defence.flops(tokens.lengths),
            symbols=tokens.lengths * symbols.shape[1] + header,
            header=header,
            snr_db=arrived.snr_db,
        )

    @torch.no_grad()
    def encode(self, images: Tensor | Rows, batch: int = 128) -> Encoded:
        """What the device computes of a number of images that memory has room for."""
        return Encoded.cat([self.encoder(part.to(self.device), self.policy) for part in images.split(batch)])

    @torch.no_grad()
    def transmit(self, images: Tensor | Encoded | Encodings, seed: int = 0, batch: int = 128) -> Transmission:
        """Any number of images from end to end.

        Args:
            images: ``[B, C, H, W]`` float in [0, 1], or what the encoder made of them, which gives the same.
            seed: of the channel's and the defence's randomness; the same seed gives the same transmission.
            batch: images that run at a time.
        """
        return Transmission.cat(list(self.stream(images, seed, batch)))

    def stream(
        self, images: Tensor | Rows | Encoded | Encodings, seed: int = 0, batch: int = 128
    ) -> Iterator[Transmission]:
        """As `transmit`, batch by batch, which need never be in memory together."""
        generator = torch.Generator().manual_seed(seed)
        for part in images.split(batch):
            with torch.no_grad():
                if isinstance(part, Encoded):
                    yield self.relay(part, generator)
                else:
                    yield self.forward(part.to(self.device), generator)


def cat_snr(parts: Sequence[S]) -> S | Tensor:
    """The SNRs of several batches: one number for all, or a tensor with a row for each image or symbol."""
    tensors: list[Tensor] = [part for part in parts if isinstance(part, Tensor)]
    return torch.cat(tensors) if tensors else parts[0]
