"""Sweeps over channels and their SNR: accuracy, leakage to the server and leakage to an eavesdropper at every point."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atm import channels, codecs
from atm.encoder import Encoded, Encoder
from atm.errors import AtmError
from atm.link import Link, Transmission
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from attacks import create
from audit.remember import RememberingLink
from audit.setting import AttackConfig, prepare
from privacy_metrics import ssim
from reports.sweep import FRAMES, PAGE, POINTS, SETTINGS, TABLE, read_points, read_settings, write_sweep

MOST_SNRS = 1000


@dataclass(frozen=True)
class SweepConfig:
    """What ``atm sweep`` is asked for; see `audit.setting.AttackConfig` for what they share.

    Attributes:
        snr: of the link, in dB.
        channels: names with options but without an SNR, such as ``awgn`` or ``rician,k=3``.
        eavesdropper_snr: hers, in dB; empty makes it the link's at every point.
        eavesdropper_channel: hers, without an SNR; None is the link's kind.
        threat: whose knowledge both adversaries have.
        attacks: trained anew at every point; the leakage is that of the best for each picture.
        codecs: see `atm.codecs.load_codec`; every policy is measured with each of them.
    """

    snr: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0, 20.0)
    channels: tuple[str, ...] = ("awgn",)
    eavesdropper_snr: tuple[float, ...] = ()
    eavesdropper_channel: str | None = None
    policies: tuple[str, ...] = ("none", "moderate", "aggressive")
    attacks: tuple[str, ...] = ("ridge",)
    victim: str = "vit_photos"
    weights: str | None = None
    codecs: tuple[str, ...] = ("auto",)
    data: str = "photos"
    auxiliary_data: str | None = None
    threat: str = "eavesdropper"
    images: int = 100
    auxiliary: int = 1000
    seed: int = 0

    def attack(self) -> AttackConfig:
        """The configuration that loads and checks all but the channels."""
        own = ("snr", "channels", "codecs", "eavesdropper_snr", "eavesdropper_channel")
        shared = {key: value for key, value in asdict(self).items() if key not in own}
        return AttackConfig(channel=at(self.channels[0], self.snr[0]), codec=self.codecs[0], **shared)


def sweep(
    config: SweepConfig,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Measure every point, each on disk before the next begins; write tables and figures, and say where the page is.

    Writes ``sweep.json``, ``points.jsonl`` with a line for each point and its scores per picture, ``frames.json`` with
    the tokens of every frame, ``points.csv`` and ``sweep.html``.

    Raises:
        AtmError: bad configuration, or a folder that holds another sweep.
    """
    for channel in (*config.channels, *([config.eavesdropper_channel] if config.eavesdropper_channel else [])):
        _check(channel)
    if not (config.attacks and config.channels and config.codecs and config.snr):
        raise AtmError("a sweep needs at least one attack, one channel, one codec and one SNR")
    folder = Path(out)
    points = _open(folder, config, resume, force)
    bench = Bench(config)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / SETTINGS, json.dumps(bench.about, indent=2))
    _replace(folder / POINTS, "".join(json.dumps(point) + "\n" for point in points))
    _replace(folder / FRAMES, json.dumps(bench.frames()))
    done = {(point["policy"], point["channel"], point["snr"]) for point in points}
    wanted = [(name, c, snr) for name in bench.systems for c in config.channels for snr in config.snr]
    with open(folder / POINTS, "a", encoding="utf-8") as file:
        for number, (name, channel, snr) in enumerate(wanted, 1):
            if (name, channel, snr) in done:
                continue
            say(f"[{number}/{len(wanted)}] {name} over {channel} at {snr:g} dB")
            file.write(json.dumps(bench.measure(name, channel, snr)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return write_sweep(folder)


class Bench:
    """Everything that a sweep needs at each of its points, loaded and checked once.

    Raises:
        AtmError: anything in the configuration is unknown, unreadable or does not fit the rest.
    """

    def __init__(self, config: SweepConfig) -> None:
        self.config = config
        setting = prepare(config.attack())
        if setting.threat.channel is not None:
            raise AtmError(f"threat model {config.threat!r} has a channel; a sweep takes it as --eavesdropper-channel")
        data = setting.data
        self.originals, self.truth = data.victims.images, setting.truth
        self.auxiliary = torch.cat([data.auxiliary.images, data.validation.images])
        self.labels = torch.cat([data.victims.labels, data.auxiliary.labels, data.validation.labels])
        self.policies, self.threat = setting.policies, setting.threat
        self.encoder = Remembering(setting.link.encoder, [self.originals, self.auxiliary])
        self.systems: dict[str, Link] = {}
        assert setting.victim is not None
        setting.victim.need_task("atm sweep")
        about = []
        for name in dict.fromkeys(config.codecs):
            codec, digest = codecs.load_for(name, setting.victim, self.policies)
            about.append({"name": name, "symbols_per_token": codec.symbols_per_token, "digest": digest})
            for policy in self.policies:
                system = policy.name if len(set(config.codecs)) == 1 else f"{policy.name}, {name}"
                self.systems[system] = Link(self.encoder, policy, codec)
        settings = json.loads(json.dumps(asdict(config)))
        self.about = {**setting.about, "kind": "sweep", "config": settings, "codecs": about}

    def measure(self, system: str, channel: str, snr: float) -> dict[str, Any]:
        """One point: which pictures were answered right, and how much of each leaked to whom.

        Args:
            system: one of ``systems``: the policy, and where there are several the codec.
            channel: without its SNR.
            snr: of the link, in dB.
        """
        link = RememberingLink.around(self.systems[system])
        link.channel = channels.parse(at(channel, snr))
        transmission = link.transmit(self.originals, self._seed(1))
        server = replace(self.threat, name="server", tap="server", channel=None)
        eavesdroppers = []
        for hers in self.config.eavesdropper_snr or (snr,):
            heard = at(self.config.eavesdropper_channel or channel, hers)
            threat = replace(self.threat, name="eavesdropper", tap="eavesdropper", channel=heard)
            eavesdroppers.append({"snr": hers, "leakage": self._leakage(link, threat, transmission)})
        return {
            "policy": system,
            "channel": channel,
            "snr": snr,
            "correct": (transmission.logits.argmax(-1) == self.truth).int().tolist(),
            "tokens": transmission.sent.counts,
            "symbols": transmission.symbols.tolist(),
            "server": self._leakage(link, server, transmission),
            "eavesdropper": eavesdroppers,
        }

    def frames(self) -> dict[str, Any]:
        """For each policy the tokens of every picture at hand, attacked or not, and the pictures' classes."""
        lengths = {}
        for policy in self.policies:
            parts = [part for pictures in (self.originals, self.auxiliary) for part in pictures.split(128)]
            with torch.no_grad():
                lengths[policy.name] = torch.cat([self.encoder(p, policy).tokens.lengths for p in parts]).tolist()
        return {"labels": self.labels.tolist(), "lengths": lengths}

    def _leakage(self, link: Link, threat: ThreatModel, transmission: Transmission) -> list[float]:
        """``[B]`` for each picture the best SSIM of any attack."""
        seen = threat.observe(transmission, link, self._seed(2))
        best = torch.full((len(seen),), -1.0)
        for name in self.config.attacks:
            torch.manual_seed(self._seed(3))
            attack = create(name)
            attack.fit(link, threat, self.auxiliary)
            best = torch.maximum(best, ssim(attack.reconstruct(seen), self.originals))
        return [round(value, 6) for value in best.tolist()]

    def _seed(self, purpose: int) -> int:
        return int(np.random.SeedSequence([self.config.seed, purpose]).generate_state(1)[0])


class Remembering(Encoder):
    """An encoder that runs none of some pictures twice: channels and SNRs change nothing of what the device computes.

    Args:
        encoder: the victim.
        pictures: tensors that nobody changes; parts of them are remembered, and everything else is computed.
    """

    def __init__(self, encoder: Encoder, pictures: list[Tensor]) -> None:
        self.__dict__.update(encoder.__dict__)
        self._known = {picture.untyped_storage().data_ptr(): picture for picture in pictures}
        self._seen: dict[tuple[int, int, int, str], Encoded] = {}

    def forward(self, images: Tensor, policy: MergePolicy) -> Encoded:
        """What `Encoder` gives."""
        storage = images.untyped_storage().data_ptr()
        if storage not in self._known or torch.is_grad_enabled():
            return super().forward(images, policy)
        key = (storage, int(images.storage_offset()), len(images), policy.name)
        if key not in self._seen:
            self._seen[key] = super().forward(images, policy)
        return self._seen[key]


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


def _open(folder: Path, config: SweepConfig, resume: bool, force: bool) -> list[dict[str, Any]]:
    """The points that are there already; a torn last line is dropped."""
    if not (folder / SETTINGS).exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise AtmError(f"{folder} holds something that is no sweep; choose another --out")
        return []
    if force:
        for name in (POINTS, FRAMES, TABLE, PAGE):
            (folder / name).unlink(missing_ok=True)
        return []
    if not resume:
        raise AtmError(f"{folder} already holds a sweep; use --resume to go on with it or --force to replace it")
    before = read_settings(folder)["config"]
    asked = json.loads(json.dumps(asdict(config)))
    for key, value in asked.items():
        if before.get(key) != value and key not in ("snr", "channels", "codecs", "policies"):
            raise AtmError(f"{folder} was swept with {key} = {before.get(key)!r}, not {value!r}; give the same")
    return read_points(folder)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
