"""What processes of a link say to each other: typed messages in msgpack, and nothing else is taken.

A device says `Hello` and gets `Welcome` or `Refused`; then each `Frame` gets an `Answer` or `Refused`. A frame has what
the codec sends: symbols as pairs of float32, and the header's bits (`atm.header`). Beside that stand the session and
the frame's number, which belong to the transport and count as no symbols, and the tag of its policy, one of those that
`Hello` named, which counts as the bits that tell so many apart. A channel on the way replaces the symbols,
and adds what the receiver knows of their quality.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgpack
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from torch import Tensor

from atm.errors import AtmError
from atm.text import printable

VERSION = 2
SYMBOL = 8  # bytes: two float32
MOST_WORDS = 600  # characters of a refusal
LOUDEST = 1e6  # of a symbol's parts, in units of the power that codecs send with
MOST_BYTES = 16 * 2**20  # of any message, whatever the system
ENVELOPE = 512  # bytes, at least as many as there are around symbols and header

Session = Annotated[bytes, Field(min_length=16, max_length=16)]
Number = Annotated[int, Field(ge=0, lt=2**63)]
Words = Annotated[str, Field(max_length=MOST_WORDS)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Tag = Annotated[str, Field(pattern=r"^[0-9a-z]{16}$")]
Reason = Literal["version", "system", "session", "policy", "replayed", "frame", "busy"]
System = dict[Annotated[str, Field(max_length=40)], Words]


class MessageError(AtmError):
    """Bytes that are no message of this protocol."""


class Message(BaseModel):
    """What all messages have in common: typed strictly, no other fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    kind: str

    def pack(self) -> bytes:
        """As bytes."""
        packed: bytes = msgpack.packb(self.model_dump())
        return packed


class Hello(Message):
    """A device says what it is, and under which policies it may send."""

    kind: Literal["hello"] = "hello"
    version: Number = VERSION
    system: System = Field(max_length=20)
    policies: list[Annotated[System, Field(max_length=20)]] = Field(min_length=1, max_length=16)


class Welcome(Message):
    """The server runs the same system."""

    kind: Literal["welcome"] = "welcome"
    session: Session


class Refused(Message):
    """Why a message was not taken, in one line; ``number`` is that of the frame."""

    kind: Literal["refused"] = "refused"
    reason: Reason
    words: Words
    number: Number | None = None


class Frame(Message):
    """One picture on the air.

    Attributes:
        policy: the tag of the one that it was made under.
        symbols: ``T k`` complex64, token by token.
        per_token: k.
        header: see `atm.header`.
        snr_db: what the receiver knows of the symbols: one number in dB, or a float32 for each; None before a channel.
    """

    kind: Literal["frame"] = "frame"
    session: Session
    number: Number
    policy: Tag
    per_token: Annotated[int, Field(ge=1, le=4096)]
    symbols: bytes
    header: Annotated[bytes, Field(max_length=2**16)]
    snr_db: float | bytes | None = None

    @classmethod
    def of(cls, session: bytes, number: int, policy: str, symbols: Tensor, header: bytes) -> Frame:
        """From symbols ``[T, k]``."""
        return cls(
            session=session,
            number=number,
            policy=policy,
            per_token=symbols.shape[1],
            symbols=raw(symbols.cpu()),
            header=header,
        )

    @property
    def tokens(self) -> int:
        """T."""
        return len(self.symbols) // (SYMBOL * self.per_token)

    def tensor(self) -> Tensor:
        """Symbols ``[T, k]`` complex64.

        Raises:
            MessageError: they are no whole number of tokens, none, not finite, or of no power that anybody sends.
        """
        if not self.symbols or len(self.symbols) % (SYMBOL * self.per_token):
            raise MessageError(f"{len(self.symbols)} bytes are no tokens of {self.per_token} symbols each")
        values = torch.from_numpy(np.frombuffer(self.symbols, "<f4").copy())
        if not bool((values.abs() < LOUDEST).all()):  # false for NaN
            raise MessageError(f"symbols are NaN, or of {LOUDEST:g} and more")
        return torch.view_as_complex(values.reshape(-1, self.per_token, 2))

    def quality(self) -> float | Tensor:
        """The SNR in dB, one number or ``[T, k]``; infinite where no channel was on the way.

        Raises:
            MessageError: there are not as many as symbols, or some are NaN.
        """
        if self.snr_db is None:
            return math.inf
        if isinstance(self.snr_db, float):
            if math.isnan(self.snr_db):
                raise MessageError("the SNR is NaN")
            return self.snr_db
        if 2 * len(self.snr_db) != len(self.symbols):
            raise MessageError("there are not as many SNRs as symbols")
        values = torch.from_numpy(np.frombuffer(self.snr_db, "<f4").copy()).reshape(-1, self.per_token)
        if bool(values.isnan().any()):
            raise MessageError("an SNR is NaN")
        return values

    def received(self, symbols: Tensor, snr_db: float | Tensor) -> Frame:
        """The same frame behind a channel."""
        quality = raw(snr_db.float()) if isinstance(snr_db, Tensor) else float(snr_db)
        return self.model_copy(update={"symbols": raw(symbols), "snr_db": quality})


class Answer(Message):
    """What the server makes of a frame.

    Attributes:
        logits: float32.
        symbols: channel uses of the frame, header included, as reports count them.
        snr_db: what its receiver measured, the mean in dB.
        seconds: that it computed, for all frames of the batch.
        waited: seconds that the frame waited for its turn before that.
        together: frames of the batch.
    """

    kind: Literal["answer"] = "answer"
    number: Number
    logits: Annotated[bytes, Field(max_length=2**20)]
    symbols: Number
    snr_db: float
    seconds: Finite
    waited: Finite = 0.0
    together: Number = 1

    @field_validator("logits")
    @classmethod
    def _numbers(cls, logits: bytes) -> bytes:
        if not logits or len(logits) % 4 or not np.isfinite(np.frombuffer(logits, "<f4")).all():
            raise ValueError("no finite numbers of four bytes")
        return logits

    def tensor(self) -> Tensor:
        """Logits ``[classes]``."""
        return torch.from_numpy(np.frombuffer(self.logits, "<f4").copy())


class Overheard(Message):
    """What somebody who listens made of a frame, for whoever shows it.

    Attributes:
        png: the picture that she rebuilt.
        score: its SSIM to the original, where she may see that.
        snr_db: at her antenna.
    """

    kind: Literal["overheard"] = "overheard"
    number: Number
    attack: Words
    png: Annotated[bytes, Field(max_length=2**22)]
    score: Finite | None
    snr_db: float


_ADAPTER: TypeAdapter[Message] = TypeAdapter(
    Annotated[Hello | Welcome | Refused | Frame | Answer | Overheard, Field(discriminator="kind")]
)
LIMITS: dict[str, Any] = {
    "raw": False, "strict_map_key": True, "max_str_len": 4096, "max_map_len": 32, "max_array_len": 64, "max_ext_len": 0,
}  # fmt: skip


def unpack(data: bytes, *kinds: type[Message]) -> Any:
    """A message of one of some kinds.

    Raises:
        MessageError: the bytes are none, or one of another kind.
    """
    if len(data) > MOST_BYTES:
        raise MessageError(f"a message of {len(data)} bytes is too large")
    try:
        message = _ADAPTER.validate_python(msgpack.unpackb(data, max_bin_len=len(data), **LIMITS))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise MessageError(printable(f"no message of this protocol: {where}: {first['msg']}")[:200]) from None
    except Exception as error:  # of msgpack, which raises half a dozen kinds
        raise MessageError(f"no message of this protocol: {type(error).__name__}") from None
    if not isinstance(message, kinds):
        raise MessageError(f"a message of kind {message.kind!r} has no meaning here")
    return message


def raw(values: Tensor) -> bytes:
    """A tensor's numbers as bytes, float32 or pairs of them."""
    data: bytes = values.detach().cpu().resolve_conj().contiguous().numpy().tobytes()
    return data
