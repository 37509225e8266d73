"""Figures of a sweep, as SVG text: one quantity each, a panel for each channel, a line for each policy."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.ticker import ScalarFormatter

from reports.figures import cycle, svg
from reports.sweep import Sweep


def against_snr(sweep: Sweep, quantity: str) -> str:
    """One of `reports.sweep.QUANTITIES` against SNR with 95% bands.

    What concerns the eavesdropper is drawn against her SNR; where she was given SNRs of her own, with the link at its
    highest.
    """
    hers = quantity in ("eavesdropper", "gap")
    axis_column = "eavesdropper_snr" if hers else "snr"
    own_snrs = hers and bool(sweep.about["config"]["eavesdropper_snr"])
    rows = sweep.table[sweep.table.quantity == quantity]
    count = len(sweep.channels)
    figure, axes = plt.subplots(
        1, count, figsize=(max(5.0, 4.0 * count), 3.2), sharey=True, squeeze=False, constrained_layout=True
    )
    for axis, channel in zip(axes[0], sweep.channels, strict=True):
        for policy, colour in zip(sweep.policies, cycle(len(sweep.policies)), strict=True):
            line = rows[(rows.channel == channel) & (rows.policy == policy)]
            if own_snrs:
                line = line[line.snr == line.snr.max()]
            line = line.sort_values(axis_column)
            x = line[axis_column].astype(float)
            axis.plot(x, line.estimate, "o-", color=colour, markersize=3, linewidth=1.3, label=policy)
            axis.fill_between(x, line.low.fillna(line.estimate), line.high.fillna(line.estimate), color=colour,
                              alpha=0.15, linewidth=0)  # fmt: skip
        axis.set_title(channel, fontsize=10)
        axis.set_xlabel("SNR of the eavesdropper (dB)" if hers else "SNR (dB)")
    axes[0][0].set_ylabel(sweep.titles[quantity].partition(":")[0], fontsize=9)
    axes[0][0].legend(frameon=False, fontsize=8)
    return svg(figure)


def lengths(sweep: Sweep) -> str:
    """Bits of the class in the padded length of a frame, and the symbols that the padding costs, against the bucket."""
    figure, (bits, cost) = plt.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True)
    for (policy, rows), colour in zip(sweep.padding.items(), cycle(len(sweep.padding)), strict=True):
        buckets = [row.bucket for row in rows]
        found = [row.information.bits for row in rows]
        bits.plot(buckets, [b.estimate for b in found], "o-", color=colour, markersize=3, label=policy)
        bits.fill_between(buckets, [b.low for b in found], [b.high for b in found], color=colour, alpha=0.15,
                          linewidth=0)  # fmt: skip
        cost.plot(buckets, [100 * row.extra for row in rows], "o-", color=colour, markersize=3)
    for axis in (bits, cost):
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.set_xlabel("bucket (tokens)")
    bits.set_ylabel("bits of the class in the length", fontsize=9)
    cost.set_ylabel("more symbols (%)", fontsize=9)
    bits.legend(frameon=False, fontsize=8)
    return svg(figure)
