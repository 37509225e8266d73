"""Every planted system with its right verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import defenses
from atm.channels import Awgn, Channel
from atm.codec import Codec
from atm.defence import Defence
from atm.encoder import Encoder
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS, ThreatModel
from audit.planted import encoders, parts, pictures, sentences, sounds
from audit.planted.encoders import WIDTH, TokensOf
from audit.planted.pictures import Pictures
from reports.level import BEATS_BOUND, IN_PART, INCONCLUSIVE, LEAKS, NOT_FOUND

REFUSED = "refused"
POLICY = MergePolicy.uniform(1.0, 2, name="planted")
EARLY = MergePolicy.uniform(1.0, 2, exit_layer=1, name="planted")
NOISE = 0.3
EAVESDROPPER = PRESETS["eavesdropper"]  # who is meant to learn nothing, not even the label


@dataclass(frozen=True)
class System:
    """A system whose right verdict is known.

    Attributes:
        name: what is planted.
        expected: a word of `reports.level`, or ``refused``.
        tokens: what the encoder makes of signals.
        victim: the encoder with that function planted in it.
        attacks: beside the blind baselines.
        pictures: which ones.
        channel: None is noiseless.
        codec: None is none.
        defence: None is none.
        policy: after which layer the tokens leave.
        threat: who attacks.
        images: attacked at most; None is no limit.
        quick: whether attacks take the few steps of a first look.
        labels: whether to look for the label and for the picture among candidates too.
        least_error: mean squared error per pixel that is claimed to be the least possible, or None where none is.
        recogniser: a shipped victim that looks at what is rebuilt; None for none.
        signal: what is attacked; ``pictures`` gives them.
    """

    name: str
    expected: str
    tokens: TokensOf = encoders.identity
    attacks: tuple[str, ...] = ("ridge",)
    pictures: Pictures = pictures.photographs
    channel: Channel | None = None
    codec: Codec | None = None
    defence: Defence | None = None
    policy: MergePolicy = POLICY
    threat: ThreatModel = PRESETS["server"]
    images: int | None = None
    quick: bool = False
    labels: bool = False
    least_error: float | None = None
    recogniser: str | None = None
    victim: Callable[[TokensOf], Encoder] = encoders.planted

    def link(self) -> Link:
        """The system."""
        return Link(self.victim(self.tokens), self.policy, self.codec, self.channel, self.defence)


def gaussian_least_error(noise: float) -> float:
    """Mean squared error per pixel of the conditional mean, the best estimate there is (Wiener).

    Of a component with variance s² seen under noise of variance n², s² n² / (s² + n²) remains.
    """
    variance = pictures.DEVIATIONS.square()
    return float((variance * noise**2 / (variance + noise**2)).mean())


def _some(percent: int, expected: str) -> System:
    """Some pictures of a hundred, of which three fifths can be seen: recognisable, and no near copy."""
    return System(f"leak of {percent} in 100", expected, encoders.shown(0.6), pictures=pictures.marked(percent))


def _of_sounds(name: str, expected: str, tokens: TokensOf, labels: bool = False, threat: str = "server") -> System:
    """One that hears `audit.planted.sounds.voices`."""
    return System(
        name, expected, tokens, pictures=sounds.voices, labels=labels, threat=PRESETS[threat], victim=sounds.hearing
    )


def _reading(name: str, expected: str, tokens: TokensOf, pictures: Pictures = sentences.drawn) -> System:
    """A system that takes in sentences."""
    return System(name, expected, tokens, ("word_ridge",), pictures, victim=sentences.reading)


HIDES_NOTHING = (
    System("identity encoder", LEAKS),
    System("pixels hidden in one channel of one token", LEAKS, encoders.one_channel, ("ridge", "whole"),
           pictures.one_number),
    System("secret fixed permutation of tokens", LEAKS, encoders.permuted, ("ridge", "whole")),
    System("patches in their neighbours' tokens", LEAKS, encoders.beside, ("ridge", "context")),
    System("patches in an order that nobody tells, but their tokens", LEAKS, encoders.placed, ("position",),
           threat=PRESETS["server-shuffled"], quick=True),
    System("secret fixed rotation of features", LEAKS, encoders.rotated),
    System("secret fixed flip of features", LEAKS, defence=parts.SecretFlip()),
    System("secret fixed mask", LEAKS, defence=parts.SecretMask()),
    System("noise on the class token alone", LEAKS, defence=parts.WrongToken()),
    System("defence that only breaks gradients", LEAKS, defence=parts.GradientBreaking()),
    System("random dropping whose draw is seen", LEAKS, defence=defenses.create("drop:0.4")),
    System("signal far above the noise", LEAKS, channel=Awgn(40.0)),
    System("noise that is announced but not added", LEAKS, channel=parts.Announced(-40.0)),
    System("early exit before the last layer's protection", LEAKS, encoders.constant, policy=EARLY),
    System("leak in side information alone", LEAKS, channel=Awgn(-40.0), codec=parts.SideCodec(WIDTH)),
    System("auxiliary images of another domain", LEAKS, pictures=pictures.another_domain),
)  # fmt: skip

NO_PICTURE = (
    System("leak in the token count alone", LEAKS, encoders.count_only, labels=True),
    System("label leaked but not pixels", LEAKS, encoders.label_only, labels=True),
    System("identity alone", LEAKS, encoders.hashed, labels=True),
    System("retrieval alone", LEAKS, encoders.hashed, ("nearest", "ridge"), pictures.twins(100)),
    System("retrieval of 10 in 100", IN_PART, encoders.hashed, ("nearest", "ridge"), pictures.twins(10)),
    System("person alone, of whom the adversary has pictures", LEAKS, encoders.who, ("nearest", "ridge"),
           pictures.persons(None)),
    System("position alone", LEAKS, encoders.places, ("codes",), threat=PRESETS["server-shuffled"]),
)  # fmt: skip

SOME_PICTURES = (
    System("near copy of 1 in 100", IN_PART, encoders.shown(1.0), pictures=pictures.marked(1)),
    System("near copies of 2 in 100", IN_PART, encoders.shown(1.0), pictures=pictures.marked(2)),
    _some(1, INCONCLUSIVE),
    _some(5, INCONCLUSIVE),
    _some(9, INCONCLUSIVE),
    _some(10, IN_PART),
    _some(30, IN_PART),
    _some(70, LEAKS),
)

RECOGNISED = (
    System("mirror images, which SSIM does not know", LEAKS, attacks=("mirrored",), recogniser="vit_cifar10"),
    System("pieces of pictures in disorder", INCONCLUSIVE, attacks=("disordered",), pictures=pictures.textured,
           images=100, recogniser="vit_photos"),
    System("nothing but the mean colour", NOT_FOUND, encoders.colour, pictures=pictures.textured, images=100,
           recogniser="vit_cifar10"),
    System("constant tokens before a recogniser", NOT_FOUND, encoders.constant, recogniser="vit_cifar10", labels=True,
           threat=EAVESDROPPER),
)  # fmt: skip
"""Systems of which a recogniser has a say."""

SENTENCES = (
    _reading("sentences whose words are sent as they are", LEAKS, sentences.said),
    _reading("secret fixed rotation of words", LEAKS, sentences.turned),
    _reading("leak of 20 sentences in 100", IN_PART, sentences.if_marked, pictures=partial(sentences.marked, 20)),
)
"""Systems whose signal is text."""

BROKEN = (
    System("attack that learns from mixed-up pairs", INCONCLUSIVE, attacks=("mixed_up",)),
    System("attack that was not retrained", INCONCLUSIVE, attacks=("stale",), defence=parts.SecretFlip()),
    System("attack cut by its time budget", INCONCLUSIVE, encoders.constant, attacks=("ridge", "cut")),
    System("ten images", INCONCLUSIVE, encoders.constant, images=10),
    System("victims among the auxiliary images", REFUSED, pictures=pictures.overlapping),
    System("claimed bound that does not hold", BEATS_BOUND, encoders.without_class_token, pictures=pictures.gaussian,
           defence=parts.GaussianNoise(NOISE), least_error=1.2 * gaussian_least_error(NOISE)),
)  # fmt: skip

NULL = (
    System("constant tokens", NOT_FOUND, encoders.constant, labels=True, threat=EAVESDROPPER),
    System("another image's tokens", NOT_FOUND, encoders.of_another),
    System("signal far below the noise", NOT_FOUND, channel=Awgn(-40.0), codec=parts.FixedPower(WIDTH)),
    System("constant tokens under noise", NOT_FOUND, encoders.constant, defence=parts.GaussianNoise(1.0), labels=True,
           threat=EAVESDROPPER),
    System("one-time pad", NOT_FOUND, attacks=("ridge", "nearest"), defence=parts.OneTimePad(), labels=True,
           threat=EAVESDROPPER),
    System("random token count", NOT_FOUND, encoders.constant, defence=parts.RandomLength(), labels=True,
           threat=EAVESDROPPER),
    System("one constant token", NOT_FOUND, encoders.one_constant_token, attacks=("ridge", "whole"), labels=True),
    System("near-duplicates taken from the adversary", NOT_FOUND, encoders.hashed, ("nearest", "ridge"),
           pictures.untwinned),
    System("person alone, kept on one side", NOT_FOUND, encoders.who, ("nearest", "ridge"), pictures.persons("folder")),
    System("position told to the adversary anyway", NOT_FOUND, encoders.places, ("ridge", "codes")),
    _of_sounds("constant tokens of sounds", NOT_FOUND, sounds.constant, labels=True, threat="eavesdropper"),
    _of_sounds("another sound's tokens", NOT_FOUND, sounds.of_another),
    _reading("constant tokens, one for each word", NOT_FOUND, sentences.mute),
    _reading("another sentence's tokens", NOT_FOUND, sentences.of_another),
    System("sound defence with a known bound", NOT_FOUND, encoders.without_class_token, pictures=pictures.gaussian,
           defence=parts.GaussianNoise(NOISE), least_error=gaussian_least_error(NOISE)),
)  # fmt: skip
"""Systems that leak nothing, whatever the seed."""

SOUNDS = (
    _of_sounds("spectrogram in the tokens", LEAKS, sounds.identity),
    _of_sounds("secret fixed rotation of sounds", LEAKS, sounds.turned),
    _of_sounds("word leaked but not the sound", LEAKS, sounds.word_only, labels=True),
)

SYSTEMS = (*HIDES_NOTHING, *NO_PICTURE, *SOME_PICTURES, *RECOGNISED, *SENTENCES, *SOUNDS, *BROKEN, *NULL)
