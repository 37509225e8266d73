"""What every attack is, and what most of them share: held-out images, features of an observation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor

from atm.asked_encoder import AskedEncoder
from atm.knowledge import Knowledge
from atm.threat import Observation, ThreatModel
from atm.tokens import NOWHERE, TokenBatch
from attacks.beginning import Beginning
from attacks.history import History

if TYPE_CHECKING:
    from attacks.oracle import Oracle

OWN_DEVICE = Knowledge.WEIGHTS | Knowledge.CODEC | Knowledge.POLICY  # what it takes to run the victim oneself
# The adversary is told the map, or can run the device herself on her own images and learn to recover it.
ALIGNABLE = (Knowledge.MERGE_MAP, Knowledge.WEIGHTS | Knowledge.POLICY)
ARRAYS = ("image", "asked-image", "log-mel", "fbank")  # kinds of signal that are arrays of numbers


class Method(ABC):
    """What attacks and inferences have in common. Randomness comes from torch's global generator, which is seeded.

    Attributes:
        name: on the command line and in reports.
        needs: what the threat model must grant.
        needs_one_of: alternatives, one of which it must grant too.
        instead_of: knowledge that the attack makes up for; who has it runs the attack only if asked to.
        order: place in the suite; closed forms come first.
        signals: kinds of signal that it is for (`atm.signals`); none stands for every kind.
        needs_prior: whether it is of no use without a language model (`attacks.language`).
        standard: whether it runs without being asked for; an attack that hardly ever found what others had not found,
            in `benchmarks/attacks.md`, leaves them its time.
        QUICK: parameters for a first look.
        history: what happened in its steps, if it has any.
        beginning: what became of the placer that it was handed, if it was handed one.
    """

    name: ClassVar[str]
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ()
    instead_of: ClassVar[Knowledge | None] = None
    order: ClassVar[int] = 0
    signals: ClassVar[tuple[str, ...]] = ARRAYS
    needs_prior: ClassVar[bool] = False
    standard: ClassVar[bool] = True
    QUICK: ClassVar[dict[str, Any]] = {}
    history: History | None = None
    beginning: Beginning | None = None

    @classmethod
    def serves(cls, signal: str) -> bool:
        """Whether it is for a kind of signal."""
        return not cls.signals or signal in cls.signals

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Its part of a time budget, in proportion to the others'."""
        return 1.0

    @classmethod
    def lacks(cls) -> str | None:
        """Why it cannot run on this machine, in one line that says how it could; None where it can."""
        return None

    @abstractmethod
    def fit(self, oracle: Oracle) -> None:
        """Prepare against one system, by what its oracle grants.

        Raises:
            KnowledgeError: the threat model denies what this attack needs.
        """


class Attack(Method):
    """A model-inversion attack: one new file with a subclass is all that it takes to add one.

    Attributes:
        blind: whether it reads no token, so that what it reaches is no leak.
    """

    blind: ClassVar[bool] = False

    @abstractmethod
    def reconstruct(self, seen: Observation) -> Tensor:
        """``[B, ...]`` as the victim takes them in (`atm.signals`): what the adversary makes of an observation."""

    def recover(self, seen: Observation) -> Tensor | None:
        """``[B, P]`` int64: the token, counted within its image, in which each patch is believed to have ended.

        For attacks that find out where tokens belong, which is a leak of its own; None for the others.
        """
        return None


@dataclass(frozen=True)
class Inferred:
    """What an inference makes of ``B`` images; None where it says nothing.

    Attributes:
        labels: ``[B]`` int64, the label that it believes.
        similarity: ``[B, N]`` float, how well each of N candidates fits; more is better.
        answers: ``[B]`` int64, her answer to her own question about each.
        captions: of each, in words.
    """

    labels: Tensor | None = None
    similarity: Tensor | None = None
    answers: Tensor | None = None
    captions: tuple[str, ...] | None = None


class Inference(Method):
    """An attack that wants no pixels but what else the tokens give away.

    Attributes:
        needs_labels: whether it is of no use where the auxiliary images' classes are not the victims'.
    """

    needs_labels: ClassVar[bool] = False

    @abstractmethod
    def infer(self, seen: Observation, candidates: Tensor) -> Inferred:
        """What the adversary concludes; every victim is somewhere among the candidates ``[N, ...]``."""


class Inquiry(Inference):
    """An inference that a language model draws: it answers what the adversary asks, or says what it sees.

    She asks her own copy of the victim, and hands the tokens to it that she sees.
    """

    signals: ClassVar[tuple[str, ...]] = ("asked-image",)
    needs: ClassVar[Knowledge] = OWN_DEVICE

    def fit(self, oracle: Oracle) -> None:
        """Nothing but the victim's own weights is needed."""
        require(self, oracle.threat)
        link = oracle.own_device()
        assert isinstance(link.encoder, AskedEncoder)
        self.encoder, self.policy = link.encoder, link.policy

    def infer(self, seen: Observation, candidates: Tensor) -> Inferred:
        """No statement about candidates."""
        return Inferred()

    @abstractmethod
    def ask(self, seen: Observation, questions: Sequence[str], answers: Sequence[str]) -> Inferred:
        """What the model makes of what she sees.

        Args:
            seen: of ``B`` images.
            questions: hers, one about each.
            answers: that there are, of which hers is given by its number.
        """


A = TypeVar("A", bound=Method)
MOST_SIDE = 64  # numbers sent beside the symbols that stand beside every patch; `attacks.whole` takes all of them


def made(attack: type[A], quick: bool = False, **parameters: Any) -> A:
    """An attack with its default parameters, or its quick ones, and whatever else is given."""
    return attack(**({**attack.QUICK, **parameters} if quick else parameters))


def require(attack: type[Method] | Method, threat: ThreatModel) -> None:
    """Raise `atm.errors.KnowledgeError` unless the adversary knows what an attack needs."""
    threat.require(attack.needs, attack.name)
    if attack.needs_one_of and not any(option in threat.knows for option in attack.needs_one_of):
        threat.require(attack.needs_one_of[0], attack.name)


def permitted(attack: type[Method] | Method, threat: ThreatModel) -> bool:
    """Whether the adversary knows what an attack needs."""
    alternatives = not attack.needs_one_of or any(option in threat.knows for option in attack.needs_one_of)
    return attack.needs in threat.knows and alternatives


def held_out(count: int) -> tuple[Tensor, Tensor]:
    """Row numbers of the auxiliary images to train on, and of the last tenth (at least one) to choose by."""
    validation = max(count // 10, 1)
    rows = torch.arange(count)
    return rows[: count - validation], rows[count - validation :]


def mean_and_scale(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """``[f]`` mean and deviation of rows ``[n, f]`` that come in parts, float32; the deviation is never 0."""
    count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for part in parts:
        rows = part.cpu().double()
        count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.square().sum(0)
        device = part.device
    mean = total / count
    variance = (squares - count * mean.square()).clamp_min(0) / max(count - 1, 1)
    return mean.float().to(device), variance.sqrt().float().clamp_min(1e-6).to(device)


def patch_features(seen: Observation) -> Tensor:
    """``[B, P, f]``: for each patch the token it ended in, that token's logarithmic size, and what the image shares.

    A patch that ended nowhere borrows the token of the nearest patch before or behind it that arrived, with -1 for the
    logarithm. Shared are the class tokens, what the codec sent beside its symbols, and the signal-to-noise ratio where
    it differs between images. Needs the merge map.
    """
    tokens = seen.tokens
    grid = tokens.per_patch()
    assert tokens.source is not None
    shared = (tokens.source[:, :, None] == tokens.source[:, None, :]).sum(-1, keepdim=True).to(grid.dtype).log()
    nowhere = tokens.source == NOWHERE
    if bool(nowhere.any()):
        image = torch.arange(len(grid), device=grid.device)[:, None]
        grid = grid[image, _nearest_arrived(nowhere)]
        shared = shared.masked_fill(nowhere[:, :, None], -1.0)
    parts = [grid, shared]
    if tokens.prefix:
        parts.append(tokens.protected().flatten(1)[:, None].expand(-1, grid.shape[1], -1))
    parts += [each[:, None].expand(-1, grid.shape[1], -1) for each in frame_features(seen)]
    return torch.cat(parts, -1)


def frame_features(seen: Observation) -> list[Tensor]:
    """What a frame tells beside its tokens, each ``[B, f]``: side information, and the SNR where it differs."""
    parts = [seen.side[:, :MOST_SIDE].to(seen.tokens.values)] if seen.side.shape[1] else []
    if isinstance(seen.snr_db, Tensor) and seen.snr_db.ndim == 1:
        parts.append((seen.snr_db.clamp(-20, 30) / 10)[:, None].to(seen.tokens.values))
    return parts


def _nearest_arrived(nowhere: Tensor) -> Tensor:
    """``[B, P]`` int64: each patch itself, or the nearest in reading order that ended somewhere."""
    place = torch.arange(nowhere.shape[1], device=nowhere.device)
    distance = (place[:, None] - place).abs()
    return (distance + nowhere[:, None, :] * 2 * len(place)).argmin(-1)


def image_features(seen: Observation) -> Tensor:
    """``[B, d]``: the class token, or the mean over the tokens where there is none. Needs no merge map."""
    tokens = seen.tokens
    if tokens.prefix:
        return tokens.protected()[:, 0]
    return mean_token(tokens)


def mean_token(tokens: TokenBatch) -> Tensor:
    """``[B, d]``: the mean over the tokens of each image."""
    total = tokens.values.new_zeros(len(tokens), tokens.values.shape[-1])
    total = total.index_add(0, tokens.image_of_token, tokens.values)
    return total / tokens.lengths.to(total.device)[:, None]
