"""Every planted system with its right verdict."""

from __future__ import annotations

from dataclasses import dataclass

from atm.channels import Awgn, Channel
from atm.link import Defence, Link
from atm.policy import MergePolicy
from audit.planted import encoders, pictures
from audit.planted.encoders import TokensOf
from audit.planted.parts import Announced, GaussianNoise, GradientBreaking, SecretFlip
from audit.planted.pictures import Pictures
from reports.level import IN_PART, INCONCLUSIVE, LEAKS, NOT_FOUND

REFUSED, BEATS_BOUND = "refused", "beats the bound"
POLICY = MergePolicy.uniform(1.0, 2, name="planted")
NOISE = 0.3


@dataclass(frozen=True)
class System:
    """A system whose right verdict is known.

    Attributes:
        name: what is planted.
        expected: ``leaks``, ``leaks in part``, ``no leak found``, ``inconclusive`` or ``refused``.
        tokens: what the encoder makes of pictures.
        attacks: beside the floors.
        pictures: which ones.
        channel: None is noiseless.
        defence: None is none.
        images: attacked at most; None is no limit.
        labels: whether to look for the label in the tokens too.
        least_error: mean squared error per pixel that no attack can beat, or None where it is not known.
    """

    name: str
    expected: str
    tokens: TokensOf = encoders.identity
    attacks: tuple[str, ...] = ("ridge",)
    pictures: Pictures = pictures.photographs
    channel: Channel | None = None
    defence: Defence | None = None
    images: int | None = None
    labels: bool = False
    least_error: float | None = None

    def link(self) -> Link:
        """The system."""
        return Link(encoders.planted(self.tokens), POLICY, None, self.channel, self.defence)


def gaussian_least_error(noise: float) -> float:
    """Mean squared error per pixel of the conditional mean, the best estimate there is (Wiener).

    Of a component with variance s² seen under noise of variance n², s² n² / (s² + n²) remains.
    """
    variance = pictures.DEVIATIONS.square()
    return float((variance * noise**2 / (variance + noise**2)).mean())


SYSTEMS: tuple[System, ...] = (
    System("identity encoder", LEAKS),
    System("constant tokens", NOT_FOUND, encoders.constant, labels=True),
    System("another image's tokens", NOT_FOUND, encoders.of_another),
    System(
        "pixels hidden in one channel of one token",
        LEAKS,
        encoders.one_channel,
        ("ridge", "whole"),
        pictures.one_number,
    ),
    System("secret fixed permutation of tokens", LEAKS, encoders.permuted, attacks=("ridge", "whole")),
    System("secret fixed rotation of features", LEAKS, encoders.rotated),
    System("signal far above the noise", LEAKS, channel=Awgn(40.0)),
    System("signal far below the noise", NOT_FOUND, channel=Awgn(-40.0)),
    System("noise that is announced but not added", LEAKS, channel=Announced(-40.0)),
    System("defence that only breaks gradients", LEAKS, defence=GradientBreaking()),
    System("leak in the token count alone", LEAKS, encoders.count_only, labels=True),
    System("leak in one image of fifty", IN_PART, encoders.one_in_fifty, pictures=pictures.marked),
    System("label leaked but not pixels", LEAKS, encoders.label_only, labels=True),
    System("auxiliary images of another domain", LEAKS, pictures=pictures.another_domain),
    System("attack that learns from mixed-up pairs", INCONCLUSIVE, attacks=("mixed_up",)),
    System("attack that was not retrained", INCONCLUSIVE, attacks=("stale",), defence=SecretFlip()),
    System("attack cut by its time budget", INCONCLUSIVE, encoders.constant, attacks=("ridge", "cut")),
    System("ten images", INCONCLUSIVE, encoders.constant, images=10),
    System("victims among the auxiliary images", REFUSED, pictures=pictures.overlapping),
    System(
        "sound defence with a known bound",
        NOT_FOUND,
        pictures=pictures.gaussian,
        tokens=encoders.without_class_token,
        defence=GaussianNoise(NOISE),
        least_error=gaussian_least_error(NOISE),
    ),
)
