"""A sweep over channels on disk, what it says, and its page with all figures in one file.

``sweep.json`` says what was asked for and with what, ``points.jsonl`` has a line for each policy, channel and SNR with
the scores of every picture, ``frames.json`` the tokens of every frame, ``points.csv`` every number with its interval.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from atm.errors import AtmError
from atm.store import StoredRun, write
from privacy_metrics.significance import holm
from privacy_metrics.statistics import Interval, bootstrap_mean, paired_difference, wilson
from privacy_metrics.traffic import Padding, padding
from reports.measure import measured, signal_of
from reports.numbers import p_value
from reports.order import asked_for, position
from reports.page import image_of, page
from reports.settings import check_sweep

POINTS, FRAMES, TABLE, PAGE = "points.jsonl", "frames.json", "points.csv", "sweep.html"
QUANTITIES = {
    "accuracy": "task accuracy",
    "server": "leakage to the server ({measured})",
    "eavesdropper": "leakage to the eavesdropper ({measured})",
    "gap": "secrecy gap: leakage to the server less that to the eavesdropper ({measured})",
}
BUCKETS = (1, 2, 4, 8, 16, 32)  # tokens
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Collapse:
    """How much more of its accuracy a policy has lost at some SNR than the policy with the most tokens has.

    Attributes:
        policy: the one in question.
        reference: the one with the most tokens.
        channel: without its SNR.
        snr: in dB.
        top: the highest SNR of the sweep in dB, from which both losses are counted.
        excess: the difference of the losses, paired by picture; above 0 where the policy lost more.
        p_value: of the hypothesis that it lost no more, by flipping signs, corrected for all tests of the sweep (Holm).
    """

    policy: str
    reference: str
    channel: str
    snr: float
    top: float
    excess: Interval
    p_value: float

    @property
    def found(self) -> bool:
        """Whether the difference is there."""
        return self.p_value < SIGNIFICANT


@dataclass(frozen=True)
class Sweep:
    """What is in a sweep's folder."""

    folder: Path
    about: dict[str, Any]
    points: list[dict[str, Any]]
    frames: dict[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> Sweep:
        """Read the folder.

        Raises:
            AtmError: it holds no sweep, or nothing in it is finished.
        """
        stored = StoredRun(folder, "sweep")
        check_sweep(stored.about, stored.path / "sweep.json")
        points = read_points(stored)
        if not points:
            raise AtmError(f"sweep {folder} has no finished point yet; go on with it with --resume")
        return cls(stored.path, stored.about, points, stored.read_json(FRAMES))

    @cached_property
    def policies(self) -> list[str]:
        """In the order that was asked for."""
        return list(dict.fromkeys(point["policy"] for point in self.points))

    @cached_property
    def channels(self) -> list[str]:
        """In the order that was asked for."""
        return list(dict.fromkeys(point["channel"] for point in self.points))

    @cached_property
    def titles(self) -> dict[str, str]:
        """Of each of the quantities."""
        return {name: title.format(measured=measured(self.about)) for name, title in QUANTITIES.items()}

    def of(self, policy: str, channel: str) -> list[dict[str, Any]]:
        """The points of one policy over one channel, by SNR."""
        found = [p for p in self.points if p["policy"] == policy and p["channel"] == channel]
        return sorted(found, key=lambda point: point["snr"])

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each number: policy, channel, snr, eavesdropper_snr, quantity, estimate, low, high, n."""
        rows: list[dict[str, Any]] = []

        def add(point: dict[str, Any], hers: float | None, quantity: str, interval: Interval) -> None:
            where = {key: point[key] for key in ("policy", "channel", "snr")}
            numbers = {key: value for key, value in asdict(interval).items() if key != "level"}
            rows.append({**where, "eavesdropper_snr": hers, "quantity": quantity, **numbers})

        for point in self.points:
            add(point, None, "accuracy", wilson(sum(point["correct"]), len(point["correct"])))
            for quantity in ("server", "tokens", "symbols"):
                add(point, None, quantity, bootstrap_mean(point[quantity]))
            for tap in point["eavesdropper"]:
                add(point, tap["snr"], "eavesdropper", bootstrap_mean(tap["leakage"]))
                add(point, tap["snr"], "gap", paired_difference(point["server"], tap["leakage"]))
        return pd.DataFrame(rows)

    def summary(self) -> list[list[str]]:
        """Channel, SNR, policy, accuracy, leakage to the server, her SNR, leakage to her and the gap, as text.

        Of several eavesdroppers the one whose SNR is nearest to the link's; `table` has all.
        """
        shown: dict[tuple[Any, ...], str] = {}
        for row in self.table.to_dict("records"):
            hers = row["eavesdropper_snr"] if row["quantity"] in ("eavesdropper", "gap") else None
            text = f"{row['estimate']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            shown[row["policy"], row["channel"], row["snr"], hers, row["quantity"]] = text
        rows = []
        for point in self.points:
            key = point["policy"], point["channel"], point["snr"]
            nearest = min((tap["snr"] for tap in point["eavesdropper"]), key=lambda snr: abs(snr - key[2]))
            own = [shown[*key, None, quantity] for quantity in ("accuracy", "server")]
            hers = [shown[*key, nearest, quantity] for quantity in ("eavesdropper", "gap")]
            rows.append([key[1], f"{key[2]:g}", key[0], *own, f"{nearest:g}", *hers])
        return rows

    @cached_property
    def collapses(self) -> list[Collapse]:
        """The test of every policy, channel and SNR for the sign that accuracy collapses sooner with merging."""
        tokens = {p: np.mean([np.mean(point["tokens"]) for c in self.channels for point in self.of(p, c)])
                  for p in self.policies}  # fmt: skip
        reference = max(tokens, key=lambda policy: tokens[policy])
        tests: list[tuple[str, str, float, float, np.ndarray]] = []
        for channel in self.channels:
            base = {point["snr"]: np.array(point["correct"]) for point in self.of(reference, channel)}
            for policy in (p for p in self.policies if p != reference):
                own = {point["snr"]: np.array(point["correct"]) for point in self.of(policy, channel)}
                shared = sorted(base.keys() & own.keys())
                for snr in shared[:-1]:
                    top = shared[-1]
                    tests.append((policy, channel, snr, top, (own[top] - own[snr]) - (base[top] - base[snr])))
        corrected = holm([_more_than_none(excess) for *_, excess in tests])
        return [
            Collapse(policy, reference, channel, snr, top, bootstrap_mean(excess), p)
            for (policy, channel, snr, top, excess), p in zip(tests, corrected, strict=True)
        ]

    @cached_property
    def padding(self) -> dict[str, list[Padding]]:
        """For each policy what frame lengths tell of the class, at each of `BUCKETS`, and what padding costs."""
        labels = self.frames["labels"]
        longest = max(max(lengths) for lengths in self.frames["lengths"].values())
        found = {}
        for policy, lengths in self.frames["lengths"].items():
            buckets = [bucket for bucket in BUCKETS if bucket < max(lengths)] + [max(lengths)]
            found[policy] = padding(lengths, labels, buckets, longest=longest)
        return found


def sentences(sweep: Sweep) -> list[str]:
    """What the sweep found about accuracy that collapses sooner with merging, one sentence for each channel."""
    lines = []
    for channel in sweep.channels:
        tests = [c for c in sweep.collapses if c.channel == channel]
        if not tests:
            lines.append(f"On {channel} there is nothing to compare: it takes two policies and two SNRs.")
            continue
        for policy in dict.fromkeys(c.policy for c in tests if c.found):
            worst = max((c for c in tests if c.policy == policy and c.found), key=lambda c: c.excess.estimate)
            sooner = f"accuracy collapses sooner under {policy} than under {worst.reference}"
            lines.append(f"On {channel} {sooner}: {_loss(worst)}.")
        if not any(c.found for c in tests):
            worst = max(tests, key=lambda c: c.excess.estimate)
            lines.append(
                f"On {channel} no policy's accuracy is shown to collapse sooner than that of {worst.reference}; the "
                f"largest difference is that of {worst.policy}: {_loss(worst)}."
            )
    return lines


def write_sweep(folder: str | Path) -> Path:
    """Write ``points.csv`` and ``sweep.html`` of a sweep's folder, each whole or not at all, and say where the page is.

    Raises:
        AtmError: the folder holds no readable sweep.
    """
    from reports import sweep_figures as figures

    sweep = Sweep.read(folder)
    html = page(
        "sweep.html.j2",
        signal=signal_of(sweep.about),
        sweep=sweep,
        about=sweep.about,
        measured=measured(sweep.about),
        thing=signal_of(sweep.about).noun,
        sentences=sentences(sweep),
        figures=[
            (title, image_of(figures.against_snr(sweep, q), f"{title}, against SNR"))
            for q, title in sweep.titles.items()
        ],
        lengths=image_of(
            figures.lengths(sweep), "Bits of the class in the length of a frame, and the price of padding"
        ),
        rows=sweep.table.to_dict("records"),
    )
    write(sweep.folder / TABLE, sweep.table.to_csv(index=False))
    write(sweep.folder / PAGE, html)
    return sweep.folder / PAGE


def read_points(stored: StoredRun) -> list[dict[str, Any]]:
    """The finished points in the order that was asked for, in whatever they were measured.

    Where there are several codecs, each policy is one system with each of them.
    """
    about, several = stored.about, len({codec["name"] for codec in stored.about["codecs"]}) > 1
    policies = [policy["name"] for policy in about.get("policies", ())]
    lists = {"codec": "codecs", "channel": "channels", "snr": "snr"}
    asked = {"policy": policies, **{key: asked_for(about, name) for key, name in lists.items()}}
    points = sorted(stored.records(POINTS), key=lambda p: [position(p[key], values) for key, values in asked.items()])
    return [{**p, "policy": f"{p['policy']}, {p['codec']}"} for p in points] if several else points


def _more_than_none(differences: np.ndarray) -> float:
    """P-value that paired differences have a mean above 0, by flipping their signs."""
    if not differences.any():
        return 1.0
    test = permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="greater",
        n_resamples=9999, batch=2000, rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(test.pvalue)


def _loss(c: Collapse) -> str:
    e = c.excess
    p = f"p {p_value(c.p_value)}" if c.p_value < 0.001 else f"p = {p_value(c.p_value)}"
    return (
        f"from {c.top:g} to {c.snr:g} dB it loses {100 * e.estimate:.1f} points "
        f"[{100 * e.low:.1f}, {100 * e.high:.1f}] more ({e.n} pairs, {p} after correction)"
    )
