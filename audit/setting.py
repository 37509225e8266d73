"""What is attacked, by whom and with what: a configuration, and all that it names, loaded and checked."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import atm.device
import atm.policy
import atm.threat
import defenses
from atm import channels
from atm.data import Splits
from atm.encoder import Encoder
from atm.encodings import Encodings
from atm.errors import AtmError
from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.rows import Rows
from atm.seeds import seed_of
from atm.signals import Signal
from atm.threat import ThreatModel
from atm.victims import Answers, Victim
from attacks import Attack
from attacks.language import LanguageModel
from attacks.placer import Placer
from audit import beforehand, harm
from audit.adversary import adversary, samples, within
from audit.attack_config import AttackConfig
from audit.probing import PROBED, probed
from audit.recognition import Recognition
from audit.suite import choose_attacks, choose_inferences, left_out, useful
from audit.target import PROBE, target
from privacy_metrics.registry import metrics_of
from reports.acceptance import Criterion

PACKAGES = ("atm-privacy", "torch", "timm", "torchmetrics", "lpips", "numpy", "scikit-image", "kornia")
IF_INSTALLED = ("numba",)  # what computes the same to rounding


@dataclass(frozen=True)
class Setting:
    """Everything that a configuration names, loaded and checked.

    ``links`` has a system for each layer after which one of the policies sends, since neither codec nor defence serves
    the tokens of another; ``create`` makes an attack by its name (None: `attacks.create`); ``metrics`` are the scores
    taken (None: all); ``answers`` are what the victim ought to answer (`atm.victims.Answers`); ``unsent`` are auxiliary
    images for which the adversary has no queries left; ``recognition`` is who looks at reconstructions, if anybody
    does; ``encoded`` is what `encodings` has given; ``taught`` are the hashes of what a probe was fitted to here.
    """

    links: Mapping[int, Link]
    policies: list[MergePolicy]
    attacks: list[str]
    denied: list[str]
    threat: ThreatModel
    data: Splits
    answers: Answers
    about: dict[str, Any]
    create: Callable[[str], Attack] | None = None
    metrics: tuple[str, ...] | None = None
    inferences: tuple[str, ...] = ()
    victim: Victim | None = None
    unsent: Rows | None = None
    recognition: Recognition | None = None
    encoded: dict[MergePolicy, Encodings] = field(default_factory=dict)
    prior: LanguageModel | None = None
    placer: Placer | None = None
    taught: frozenset[str] = frozenset()

    @property
    def encoder(self) -> Encoder:
        """The victim."""
        return next(iter(self.links.values())).encoder

    @property
    def signal(self) -> Signal:
        """What the victim takes in."""
        return self.encoder.signal

    @property
    def scores(self) -> list[str]:
        """The names of the metrics that are taken."""
        return metrics_of(self.signal.name) if self.metrics is None else list(self.metrics)

    def suited(self, policy: MergePolicy) -> bool:
        """Whether the placer, if there is one, is for tokens that leave where those of a policy do."""
        return self.placer is None or self.placer.layer == policy.device_layers

    def link(self, policy: MergePolicy) -> Link:
        """The system under one of the policies, or another that sends after the same layer."""
        return self.links[policy.device_layers].with_policy(policy)

    def encodings(self, policy: MergePolicy) -> Encodings:
        """What the device computes of the adversary's own pictures under a policy; that of two policies is kept."""
        found = self.encoded.pop(policy, None)
        if found is None:
            hers = f"{self.data.auxiliary.digest} {self.data.validation.digest}"
            identity = None if self.victim is None else {"victim": self.victim.digest, "images": hers}
            found = Encodings(self.encoder, policy, self.data.hers, identity)
        for oldest in list(self.encoded)[:-1]:
            del self.encoded[oldest]
        self.encoded[policy] = found
        return found

    def secret(self, seed: int, repeat: int = 0) -> int:
        """What the device and the channel draw from: it cannot be computed without the attacked pictures."""
        return seed_of("secret", seed, repeat, self.data.victims.digest)


def defended(link: Link, defence: str | None, data: Splits, seed: int) -> Link:
    """A system under a defence, fitted to the first samples of the adversary's kind; None or ``none`` is none."""
    if defence in (None, "none"):
        return link
    made = defenses.create(str(defence))
    return defenses.fitted(made, link, data.auxiliary.rows[: defenses.CALIBRATION], seed_of(seed, "defence"))


def prepare(config: AttackConfig, say: Callable[[str], None] = lambda line: None) -> Setting:
    """Load and check all that a configuration names, before anything is written.

    Args:
        config: what is named.
        say: called with a line for each step.

    Raises:
        AtmError: anything in it is unknown, unreadable or does not fit the rest.
    """
    if config.images < 1 or config.auxiliary < 20:
        raise AtmError(
            f"--images {config.images} and --auxiliary {config.auxiliary} are too few; attack at least 1 picture with "
            "at least 20 auxiliary ones"
        )
    if config.budget is not None and not config.budget > 0:
        raise AtmError(f"--budget {config.budget} must be a number of seconds above 0")
    if config.repeats < 1:
        raise AtmError(f"--repeats {config.repeats} is too few; give 1 or more")
    for text in config.accept:
        Criterion.parse(text)
    if not config.policies:
        raise AtmError("no policy to attack; give --policy")
    if config.recogniser is None and config.recogniser_weights is not None:
        raise AtmError("--recogniser-weights are of no model; say of which with --recogniser")
    asked_defence = None if config.defense in (None, "none") else str(config.defense)
    denied_by_defence = Knowledge.NOTHING if asked_defence is None else defenses.create(asked_defence).denies
    threat, channel = adversary(config), channels.parse(config.channel)
    threat = replace(threat, knows=threat.knows & ~denied_by_defence)
    say(f"loading victim {config.victim}")
    found = target(config, config.policies)
    victim, policies, loaded = found.victim, found.policies, found.codecs
    signal = victim.encoder.signal
    prior = beforehand.prior(config.prior, signal)
    attacks, denied = choose_attacks(config.attacks, threat, signal.name, prior is not None)
    wanted, unable = choose_inferences(config.attacks, threat, signal.name)
    say(f"reading {signal.noun}s of {config.data}")
    data = samples(config, signal, threat.auxiliary)
    placer = beforehand.placer(config.placer, threat, victim, loaded, data.victims, config.group_by)
    taught = frozenset[str]()
    if config.head == PROBE:  # after the codecs, as all heads
        say(f"fitting a head to at most {PROBED:,} {signal.noun}s of {config.data}")
        victim, taught = probed(victim, config, data.victims)
    own = data  # all that she has, whether or not she has queries left for it
    data, unsent = (data, None) if threat.runs_the_device else within(threat.queries, data)
    named, weights = config.recogniser, config.recogniser_weights
    recognition = None if named is None else Recognition.load(named, weights, victim, data)
    unlearned = harm.labels(data) is None
    wanted = [name for name in wanted if useful(name, not unlearned)]
    links = {}
    for layer, (codec, _) in loaded.items():
        link = Link(victim.encoder, next(p for p in policies if p.device_layers == layer), codec, channel)
        links[layer] = defended(link, asked_defence, data, config.seed)
    wires = {policy.name: links[policy.device_layers].with_policy(policy).wire for policy in policies}
    for wire in wires.values():
        wire.refuse(threat.name, threat.knows)
    say(f"preparing what victim {victim.name} ought to answer")
    answers = victim.answers(data.victims)
    about = {
        "kind": "attack",
        "config": config.as_dict(),
        "victim": {
            "name": victim.name,
            "digest": victim.digest,
            "layers": victim.encoder.depth,
            "width": victim.encoder.width,
            "patches": signal.places,
        },
        "recogniser": None if recognition is None else recognition.about,
        "prior": None if prior is None else prior.digest,
        "placer": None if placer is None else placer.digest,
        "placer_learned_from": None if placer is None else placer.knows(data.validation.hashes),
        "signal": signal.name,
        "source_values": math.prod(signal.shape),
        "codec": {
            str(layer): {"name": codec.name, "symbols_per_token": codec.symbols_per_token, "digest": digest}
            for layer, (codec, digest) in loaded.items()
        },
        "wire": {name: wire.as_rows(type(signal)) for name, wire in wires.items()},
        "channel": str(channel),
        "defence": asked_defence,
        "threat": threat.as_dict(),
        "threat_in_words": " ".join(
            [threat.describe(type(signal)), *([] if placer is None else [placer.in_words(signal.noun)])]
        ),
        "data": {
            "name": data.victims.name,
            "victims": len(data.victims),
            "auxiliary": len(data.auxiliary) + len(data.validation),
            "removed": data.removed,
            "alike": data.alike,
            "victims_digest": data.victims.digest,
            "auxiliary_digest": own.auxiliary.digest,
            "validation_digest": own.validation.digest,
            "skipped": sorted({*data.victims.skipped, *data.auxiliary.skipped, *data.validation.skipped}),
            "notes": sorted(
                {
                    *data.victims.notes,
                    *data.auxiliary.notes,
                    *data.validation.notes,
                    *[harm.UNLEARNED] * unlearned,
                    *beforehand.notes(placer, data.victims, signal.noun),
                }
            ),
        },
        "device": str(atm.device.resolve(config.device)),
        "policies": [policy.as_dict() for policy in policies],
        "attacks": attacks,
        "inferences": wanted,
        "chance": harm.chance(data.victims.labels),
        "denied": [*denied, *unable],
        "left_out": left_out([*attacks, *wanted], threat, signal.name, labels=not unlearned),
        "task": answers.name,
        "transcripts": victim.task == "transcript",
        "versions": _versions(),
    }
    return Setting(
        links,
        policies,
        attacks,
        denied,
        threat,
        data,
        answers,
        json.loads(json.dumps(about)),
        inferences=tuple(wanted),
        victim=victim,
        unsent=unsent,
        recognition=recognition,
        prior=prior,
        placer=placer,
        taught=taught,
    )


def _versions() -> dict[str, str]:
    installed = [*PACKAGES, *(name for name in IF_INSTALLED if find_spec(name))]
    return {"python": platform.python_version(), **{name: version(name) for name in installed}}
