"""Candidates for a controller out of a finished sweep: what ``atm sweep`` has measured of the policies of a link."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from atm.channels import Channel, parse
from atm.errors import AtmError
from attacks import BASELINES
from audit.live.controller import Candidate
from audit.live.system import Live, Mode
from audit.sweep import at
from privacy_metrics.statistics import bootstrap_mean
from reports.sweep import Sweep


def candidates(folder: str, live: Live) -> list[Candidate]:
    """Each policy of a link as a sweep has measured it.

    A candidate leaks the most that either adversary got at any SNR: the upper end of the interval of the mean.

    Args:
        folder: of the sweep, over one kind of channel.
        live: the link.

    Raises:
        AtmError: the folder is no sweep, or one of another victim, codec, defence or channel, of several channels,
            without an attack that reads tokens, or without a point of one of the policies.
    """
    sweep = Sweep.read(folder)
    about = sweep.about
    if about["victim"]["digest"] != live.agreement["victim"]:
        raise AtmError(f"sweep {folder} measured victim {about['victim']['name']!r}, which is not this link's")
    if (about["defence"] or "none") != live.agreement["defence"]:
        raise AtmError(f"sweep {folder} measured defence {about['defence'] or 'none'}, which is not this link's")
    if len(sweep.channels) != 1:
        raise AtmError(f"sweep {folder} is over {len(sweep.channels)} channels; give one over the kind that is used")
    used = live.link.channel
    if not _is_over(sweep.channels[0], used):
        raise AtmError(
            f"sweep {folder} is over {sweep.channels[0]}, and this link over {used}; sweep its kind of channel"
        )
    if not {*about.get("attacks", [])} - {*BASELINES[live.link.signal.name].blind}:
        raise AtmError(f"sweep {folder} has no attack that rebuilds pictures from tokens, so it measured no leakage")
    return [_candidate(folder, sweep, mode) for mode in live.modes]


def _candidate(folder: str, sweep: Sweep, mode: Mode) -> Candidate:
    wanted = _plain(replace(mode.link.policy, name="").as_dict())
    names = [each["name"] for each in sweep.about["policies"] if {**each, "name": ""} == wanted]
    codec = [each for each in sweep.about["codecs"] if _is_of(each, mode)]
    points = [point for name in names for point in sweep.of(name, sweep.channels[0])]
    if not points:
        raise AtmError(f"sweep {folder} has not measured policy {mode.name!r}; sweep with the same --policy")
    missing = {*sweep.about["config"]["snr"]} - {point["snr"] for point in points}
    if missing:
        lacks = ", ".join(f"{snr:g}" for snr in sorted(missing))
        raise AtmError(f"sweep {folder} has not measured policy {mode.name!r} at {lacks} dB yet; go on with --resume")
    if not codec or len(sweep.about["config"]["codecs"]) != 1:
        raise AtmError(f"sweep {folder} measured other codecs than that of policy {mode.name!r}")
    return Candidate(
        name=mode.name,
        snr_db=tuple(point["snr"] for point in points),
        accuracy=tuple(float(np.mean(point["correct"])) for point in points),
        symbols=float(np.mean([np.mean(point["symbols"]) for point in points])),
        leakage=max(bootstrap_mean(leaked).high for point in points for leaked in _leaked(point)),
    )


def _is_over(swept: str, used: Channel) -> bool:
    """Whether a channel without its SNR is a link's, whose SNR is its own."""
    return swept.partition(",")[0] == used.name and str(parse(at(swept, used.snr_db))) == str(used)


def _leaked(point: dict[str, Any]) -> Sequence[list[float]]:
    return [point["server"], *(tap["leakage"] for tap in point["eavesdropper"])]


def _is_of(known: dict[str, Any], mode: Mode) -> bool:
    """Whether a codec of a sweep, which calls it as it was asked for, is a link's: by its weights, if it has any."""
    name, per_token, *digest = mode.agreement["codec"].split(" ")
    if digest:
        return [str(known["symbols_per_token"]), known["digest"]] == [per_token, *digest]
    return str(known["symbols_per_token"]) == per_token and known["name"].split(":")[0] in (name, "auto")


def _plain(value: dict[str, Any]) -> Any:
    return json.loads(json.dumps(value))
