"""Sweeps over channels and their SNR: accuracy, leakage to the server and leakage to an eavesdropper at every point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic.dataclasses import dataclass as configuration

from atm import channels, codecs
from atm.encodings import Encodings
from atm.errors import AtmError
from atm.link import Link
from atm.rows import Held
from atm.seeds import seed_of
from atm.store import RunStore
from atm.text import counted
from atm.threat import ThreatModel
from attacks import available
from attacks.session import Campaign, Session
from audit import cluster, harm
from audit.attack_config import AttackConfig
from audit.setting import prepare
from audit.suite import CLOSED_FORM, unblind
from audit.system import STRICT, Names, Numbers, System
from privacy_metrics import METRICS
from reports.sweep import FRAMES, POINTS, write_sweep

MOST_SNRS = 1000
GROWING = ("snr", "channels", "codecs", "policies")  # what a sweep that goes on may have more of
FREE = ("attacks",)  # how they are asked for; which they come to is compared by `RunStore.begin`


@configuration(frozen=True, kw_only=True, config=STRICT)
class SweepConfig(System):
    """What ``atm sweep`` is asked for, beside what every command is.

    Attributes:
        snr: of the link, in dB.
        channels: names with options but without an SNR, such as ``awgn`` or ``rician,k=3``.
        eavesdropper_snr: hers, in dB; empty makes it the link's at every point.
        eavesdropper_channel: hers, without an SNR; None is the link's kind.
        policies: preset names or policy files.
        attacks: trained anew at every point, by default the one that a signal has in closed form; the leakage is
            that of the best for each picture.
        codecs: see `atm.codecs.load_codec`; every policy is measured with each of them.
        defense: see `defenses.create`; None sends the tokens as they are.
        threat: whose knowledge both adversaries have.
    """

    COMMAND: ClassVar[str] = "atm sweep"

    snr: Numbers = (0.0, 5.0, 10.0, 15.0, 20.0)
    channels: Names = ("awgn",)
    eavesdropper_snr: Numbers = ()
    eavesdropper_channel: str | None = None
    policies: Names = ("none", "moderate", "aggressive")
    attacks: Names = (CLOSED_FORM,)
    codecs: Names = ("auto",)
    defense: str | None = None
    threat: str = "eavesdropper"
    auxiliary: int = 1000

    def attack(self) -> AttackConfig:
        """The configuration that loads and checks all but the channels."""
        return AttackConfig.of(self, channel=at(self.channels[0], self.snr[0]), codec=self.codecs[0])


def sweep(
    config: SweepConfig,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    ray: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Measure every point, each on disk as it ends; write tables and figures, and say where the page is.

    Writes ``sweep.json``, ``points.jsonl`` with a line for each point and its scores per picture, ``frames.json`` with
    the tokens of every frame, ``points.csv`` and ``sweep.html``.

    Args:
        config: what to sweep.
        out: the folder.
        resume: go on with the sweep that is there, which may have grown.
        force: replace it.
        ray: address of a Ray cluster that measures the points, or ``local``; None does all in this process.
        say: called with a line for each step.

    Raises:
        AtmError: bad configuration, or a folder that holds another sweep.
    """
    for channel in (*config.channels, *([config.eavesdropper_channel] if config.eavesdropper_channel else [])):
        _check(channel)
    if not (config.attacks and config.channels and config.codecs and config.snr):
        raise AtmError("a sweep needs at least one attack, one channel, one codec and one SNR")
    with (
        RunStore(out, "sweep", config.as_dict(), resume=resume, force=force, free=FREE, growing=GROWING) as folder,
        cluster.connected(ray, config.device),
    ):
        return _sweep(config, folder, say, apart=bool(ray))


def _sweep(config: SweepConfig, folder: RunStore, say: Callable[[str], None], apart: bool) -> Path:
    bench = Bench(config, say)
    folder.begin({key: value for key, value in bench.about.items() if key not in ("channel", "codec")})
    folder.write_json(FRAMES, bench.frames(say))
    done = {tuple(point[key] for key in ("policy", "codec", "channel", "snr")) for point in folder.records(POINTS)}
    points = [
        Point(name, channel, snr)
        for (name, system), channel, snr in product(bench.systems.items(), config.channels, config.snr)
        if (system.policy, system.codec, channel, snr) not in done
    ]
    for measured in _measured_apart(config, points, say) if apart else _measured(bench, points, say):
        system = bench.systems[measured["policy"]]
        folder.append(POINTS, {**measured, "policy": system.policy, "codec": system.codec})
    return write_sweep(folder.path)


class Point(NamedTuple):
    """One of ``Bench.systems`` over a channel, without its SNR, at an SNR in dB."""

    name: str
    channel: str
    snr: float

    def __str__(self) -> str:
        return f"{self.name} over {self.channel} at {self.snr:g} dB"


def _measured(bench: Bench, points: list[Point], say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    for number, point in enumerate(points, 1):
        say(f"[{number}/{len(points)}] {point}")
        yield bench.measure(*point)


def _measured_apart(config: SweepConfig, points: list[Point], say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """The same on the cluster, as they end."""
    theirs = cluster.placed(config)
    workers = cluster.Jobs(partial(Bench, theirs), _measure, theirs.device)
    for done, (point, measured) in enumerate(workers.results(points), 1):
        yield measured
        say(f"[{done}/{len(points)}] {point}")


def _measure(bench: Bench, point: Point) -> dict[str, Any]:
    return bench.measure(*point)


@dataclass(frozen=True)
class Swept:
    """A policy with a codec, and what the device computes of the pictures: channels and SNRs change nothing of that."""

    policy: str
    codec: str
    link: Link
    victims: Encodings
    auxiliary: Encodings


class Bench:
    """Everything that a sweep needs at each of its points, loaded and checked once.

    Args:
        config: what is swept.
        say: called with a line for each step.

    Raises:
        AtmError: anything in the configuration is unknown, unreadable or does not fit the rest.
    """

    def __init__(self, config: SweepConfig, say: Callable[[str], None] = lambda line: None) -> None:
        self.config = config
        self.setting = setting = prepare(config.attack(), say)
        if setting.threat.channel is not None:
            raise AtmError(f"threat model {config.threat!r} has a channel; a sweep takes it as --eavesdropper-channel")
        assert setting.victim is not None
        setting.victim.need_task("atm sweep")
        data = setting.data
        self.attacks = unblind(setting.attacks, config.attacks, setting.signal.name)
        self.originals, self.answers = data.victims.inputs, setting.answers
        self.auxiliary = data.hers
        self.labels = torch.cat([data.victims.labels, data.auxiliary.labels, data.validation.labels])
        self.systems: dict[str, Swept] = {}
        about, several = [], len(set(config.codecs)) > 1
        for policy in setting.policies:
            link = setting.link(policy)
            victims = Encodings(setting.encoder, policy, Held(self.originals))
            encoded = victims, setting.encodings(policy)
            for name in dict.fromkeys(config.codecs):
                codec, digest = codecs.load_codec(name, setting.victim, policy.device_layers)
                known = {"name": name, "symbols_per_token": codec.symbols_per_token, "digest": digest}
                about += [known] if known not in about else []
                system = Swept(policy.name, name, link.with_codec(codec), *encoded)
                self.systems[f"{policy.name}, {name}" if several else policy.name] = system
        settings = config.as_dict()
        self.about = {
            **setting.about, "kind": "sweep", "config": settings, "codecs": about, "attacks": self.attacks
        }  # fmt: skip

    def measure(self, name: str, channel: str, snr: float) -> dict[str, Any]:
        """One point: which pictures were answered right, and how much of each leaked to whom.

        Args:
            name: one of ``systems``: the policy, and where there are several the codec.
            channel: without its SNR.
            snr: of the link, in dB.
        """
        system, asked = self.systems[name], self.setting.threat
        link = system.link.over(channels.parse(at(channel, snr)))
        server = self._session(link, replace(asked, name="server", tap="server", channel=None), system)
        transmission, _, _ = server.victims(system.victims)
        eavesdroppers = []
        for hers in self.config.eavesdropper_snr or (snr,):
            heard = at(self.config.eavesdropper_channel or channel, hers)
            eavesdropper = replace(asked, name="eavesdropper", tap="eavesdropper", channel=heard)
            leaked = self._leakage(self._session(link, eavesdropper, system), system)
            eavesdroppers.append({"snr": hers, "leakage": leaked})
        return {
            "policy": name,
            "channel": channel,
            "snr": snr,
            "correct": self.answers.correct(link, transmission).int().tolist(),
            "tokens": transmission.sent.counts,
            "symbols": transmission.symbols.tolist(),
            "server": self._leakage(server, system),
            "eavesdropper": eavesdroppers,
        }

    def frames(self, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
        """For each policy the tokens of every picture at hand, attacked or not, and the pictures' classes."""
        lengths: dict[str, list[int]] = {}
        for system in self.systems.values():
            if system.policy not in lengths:  # computed here for all codecs and points
                say(f"encoding {counted(len(self.labels), self.setting.signal.noun)} by {system.policy}")
                both = system.victims, system.auxiliary
                lengths[system.policy] = torch.cat([part.lengths for part in both]).tolist()
        return {"labels": self.labels.tolist(), "lengths": lengths}

    def _session(self, link: Link, threat: ThreatModel, system: Swept) -> Session:
        seed = self.config.seed
        campaign = Campaign(seed_of("attacks", seed), self.setting.secret(seed))
        labels = harm.labels(self.setting.data)
        return Session(link, threat, self.auxiliary, labels=labels, encoded=system.auxiliary, campaign=campaign)

    def _leakage(self, session: Session, system: Swept) -> list[float]:
        """``[B]`` for each picture the leakage by the best of all attacks."""
        _, seen, _ = session.victims(system.victims)
        best = torch.full((len(seen),), -1.0)
        for name in self.attacks:
            attack = session.fitted(available()[name])
            torch.manual_seed(session.seeded(f"{name}, reconstructing"))  # whichever point came before
            rebuilt = attack.reconstruct(seen).cpu()
            best = torch.maximum(best, METRICS[self.setting.signal.leakage].compute(rebuilt, self.originals))
        return [round(value, 6) for value in best.tolist()]


def at(channel: str, snr: float) -> str:
    """``rician,k=3`` at 10 dB -> ``rician:10,k=3``."""
    name, comma, options = channel.partition(",")
    return f"{name}:{snr:g}{comma}{options}"


def grid(text: str) -> tuple[float, ...]:
    """SNRs in dB from ``FIRST:LAST:STEP``, the last included, or from a list ``0,5,10``.

    Raises:
        AtmError: it is neither.

    Examples:
        >>> grid("0:6:3"), grid("10")
        ((0.0, 3.0, 6.0), (10.0,))
    """
    try:
        if ":" not in text:
            values = [float(word) for word in text.split(",")]
        else:
            first, last, step = (float(word) for word in text.split(":"))
            steps = math.floor((last - first) / step + 1e-9)
            values = [first + i * step for i in range(min(steps, MOST_SNRS) + 1)]
    except (ValueError, ZeroDivisionError, OverflowError):
        values = []
    if not values or len(values) > MOST_SNRS or not all(map(math.isfinite, values)):
        raise AtmError(f"{text!r} is no range of SNRs; write for example 0:20:2 (first, last, step) or 0,5,10")
    return tuple(round(value, 6) for value in dict.fromkeys(values))


def _check(channel: str) -> None:
    if ":" in channel:
        raise AtmError(f"channel {channel!r}: a sweep sets the SNR; write for example rician,k=3 and --snr 0:20:5")
    if channel == "noiseless":
        raise AtmError("channel 'noiseless' has no SNR to sweep; choose another")
    channels.parse(at(channel, 10.0))
