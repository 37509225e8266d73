"""Somebody who listens: an antenna of her own at the air, and an attack that was fitted before the first frame.

She has what is on the wire and what her threat model grants beside it, but no live adversary is told the merge map of
other people's pictures: where tokens merge, her attack finds it out (`attacks.alignment`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atm.errors import AtmError, one_line, unknown
from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.seeds import seed_of
from atm.threat import Observation, ThreatModel
from attacks import Attack, available
from attacks.session import Campaign, Session
from audit.live.drawing import png_of
from audit.live.protocol import Frame, MessageError
from audit.live.system import TAG, LiveConfig, digest_of, header_of, need_pictures
from audit.setting import Setting, prepare
from privacy_metrics import score

MOST_FIT = 120.0  # seconds that an attack with a loop may take, unless the user says otherwise


@dataclass(frozen=True)
class Rebuilt:
    """What she makes of one frame.

    Attributes:
        number: of the frame.
        image: ``[C, H, W]`` in [0, 1].
        snr_db: at her antenna.
        original: the picture itself, where she may see it.
        score: SSIM of the two.
    """

    number: int
    image: Tensor
    snr_db: float
    original: Tensor | None = None
    score: float | None = None

    def png(self) -> bytes:
        """Her picture, behind the original where she may see that."""
        shown = [self.image] if self.original is None else [self.original, self.image]
        return png_of(torch.cat(shown, -1))


class Ear:
    """One who listens, ready to rebuild frames.

    Args:
        link: the system; she decodes with its codec where she knows it.
        threat: who she is.
        attack: fitted.
        seed: of the noise at her antenna, which differs between frames.
        originals: ``[N, C, H, W]``, what she may see of the pictures that are sent; frame n shows picture n modulo N.
    """

    def __init__(
        self, link: Link, threat: ThreatModel, attack: Attack, seed: int, originals: Tensor | None = None
    ) -> None:
        self.link, self.threat, self.attack, self.header = link, threat, attack, header_of(link)
        self.seed, self.originals = seed, originals

    @torch.no_grad()
    def observe(self, frame: Frame) -> Observation:
        """What she sees of a frame.

        Raises:
            MessageError: it is none of this system's.
            HeaderError: likewise.
        """
        symbols = frame.tensor().to(self.link.device)
        if symbols.shape[1] != self.link.codec.symbols_per_token:
            raise MessageError("a frame of another system: its tokens have another number of symbols")
        sent, side, _ = self.header.read(frame.header, len(symbols))
        sent = sent.to(self.link.device)
        if in_place(self.link):
            places = torch.arange(self.header.prefix, self.header.prefix + self.header.patches)
            sent = replace(sent, source=places[None].to(self.link.device))
        seed = seed_of("ear", self.seed, frame.number)
        heard = self.threat.overhear(sent, symbols, side.to(self.link.device), self.link, seed)
        return self.threat.told(heard, self.link, seed)

    def rebuild(self, frame: Frame) -> Rebuilt:
        """What she makes of a frame; see `observe`.

        Raises:
            MessageError: nothing that could be a picture comes of it.
            AtmError: the attack fails, whose file anybody may have written.
        """
        seen = self.observe(frame)
        try:
            image = self.attack.reconstruct(seen)[0].cpu()
        except Exception as error:
            raise AtmError(f"attack {self.attack.name!r} failed on frame {frame.number}: {one_line(error)}") from error
        if (fault := self.link.signal.fault(image[None], 1)) is not None:
            raise MessageError(f"a frame of which attack {self.attack.name!r} makes {fault}")
        snr = float("nan") if seen.snr_db is None else float(torch.as_tensor(seen.snr_db, dtype=torch.float32).mean())
        if self.originals is None:
            return Rebuilt(frame.number, image, snr)
        original = self.originals[frame.number % len(self.originals)]
        scores, _ = score(image[None], original[None], ("ssim",))
        return Rebuilt(frame.number, image, snr, original, float(scores["ssim"][0]))


def in_place(link: Link) -> bool:
    """Whether every frame has all patches' tokens in their places, so that the merge map is no secret."""
    merges = any(link.policy.merges_at(layer) for layer in range(link.policy.device_layers))
    return not merges and (link.defence is None or not (link.defence.drops or Knowledge.MERGE_MAP in link.denies))


def live_threat(threat: ThreatModel, link: Link) -> ThreatModel:
    """An eavesdropper without what no live one has: the merge map, and sizes that are not on the wire.

    Raises:
        AtmError: the threat model is no eavesdropper.
    """
    if threat.tap != "eavesdropper":
        raise AtmError(
            f"threat model {threat.name!r} does not listen on the air; give eavesdropper or eavesdropper:awgn:5"
        )
    never = Knowledge.SIZES if in_place(link) else Knowledge.SIZES | Knowledge.MERGE_MAP
    return replace(threat, knows=threat.knows & ~never).on(link)


def fitted(
    config: LiveConfig,
    attack: str,
    *,
    quick: bool = False,
    budget: float = MOST_FIT,
    originals: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Ear]:
    """Fit an attack to a system under each of its policies, as ``atm attack`` does with the same description.

    Args:
        config: of the system and the adversary.
        attack: its name.
        quick: with few steps.
        budget: seconds for each policy, for an attack with a loop.
        originals: whether she may see the pictures of the description, to score her own by.
        say: called with a line for each step.

    Returns:
        One who listens for each policy, by the tag of its frames.

    Raises:
        AtmError: anything is unknown or does not fit the rest; an attack that needs what she has not.
    """
    if attack not in available():
        raise unknown("attack", attack, available())
    setting = prepare(config.attacked_by(attack))  # with blind baselines before it
    assert setting.victim is not None
    need_pictures(setting.victim)
    return {
        digest_of(policy)[:TAG]: _fitted(setting, policy, config.seed, attack, quick, budget, originals, say)
        for policy in setting.policies
    }


def _fitted(
    setting: Setting,
    policy: MergePolicy,
    seed: int,
    attack: str,
    quick: bool,
    budget: float,
    originals: bool,
    say: Callable[[str], None],
) -> Ear:
    link = setting.link(policy)
    threat = live_threat(setting.threat, link)
    say(f"fitting {attack} to {len(setting.data.hers)} pictures of her own under policy {policy.name}")
    campaign = Campaign(seed, setting.secret(seed), quick)
    session = Session(link, threat, setting.data.hers, encoded=setting.encodings(policy), campaign=campaign)
    torch.manual_seed(session.seeded(attack))
    made = session.fitted(available()[attack], session.budget(budget, attack))
    shown = setting.data.victims.images if originals else None
    return Ear(link, session.threat, made, seed, shown)
