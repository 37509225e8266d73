"""What the commands of a live link print, and when they end."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from atm.text import printable
from audit.live.device import Answered
from audit.live.ear import Rebuilt
from audit.live.profiling import QUANTILES, Profile
from audit.live.system import Live
from audit.options import console, out
from audit.showing import show_table


def say_line(line: str) -> None:
    """A line for the user, on standard error."""
    console.print(printable(line), soft_wrap=True, markup=False)


def row_of(live: Live, each: Answered) -> dict[str, Any]:
    """A frame and its answer as JSON has them."""
    sending = each.sending
    row = {"number": sending.shot.number, "policy": sending.mode.name, "tokens": sending.tokens.counts[0]}
    if each.answer is None:
        return {**row, "refused": each.refused}
    logits = each.answer.tensor()
    best = int(logits.argmax())
    return {
        **row,
        "answer": best,
        "name": live.name(best),
        "probability": float(logits.softmax(0)[best]),
        "symbols": each.answer.symbols,
        "snr_db": finite(each.answer.snr_db),
        "milliseconds": {stage: round(1000 * seconds, 2) for stage, seconds in each.seconds.items()},
    }


def show_answer(live: Live, each: Answered, as_json: bool) -> None:
    """Print a frame and its answer: a line, or JSON with all logits."""
    row = row_of(live, each)
    if as_json:
        logits = None if each.answer is None else each.answer.tensor().tolist()
        print(json.dumps({**row, "logits": logits}), flush=True)
    elif each.answer is None:
        _print(f"{row['number']}: {each.refused}")
    else:
        total = sum(row["milliseconds"].values())
        under = f", {row['policy']}" if len(live.modes) > 1 else ""
        sent = f"{row['tokens']} tokens, {row['symbols']} symbols"
        _print(f"{row['number']}: {row['name']}{under}, {sent}, {total:.0f} ms")


def show_rebuilt(rebuilt: Rebuilt, as_json: bool) -> None:
    """Print what a listener made of a frame."""
    if as_json:
        row = {"number": rebuilt.number, "snr_db": finite(rebuilt.snr_db), "ssim": rebuilt.score}
        print(json.dumps(row), flush=True)
        return
    scored = "" if rebuilt.score is None else f", SSIM {rebuilt.score:.2f}"
    _print(f"{rebuilt.number}: rebuilt at {rebuilt.snr_db:.1f} dB{scored}")


def show_profile(found: Profile, as_json: bool) -> None:
    """Print a profile: a table, or JSON."""
    if as_json:
        print(json.dumps(found.as_dict()))
        return
    about = found.about
    title = f"milliseconds of {about['frames']} frames, threads: {about['threads']}, device {about['device']}"
    show_table(title, ["stage", *QUANTILES], found.rows())
    energy = "not measured: no counter can be read" if found.joules is None else f"{found.joules:.3f} J a frame"
    _print(f"peak memory of the process: {found.peak_bytes / 2**20:.0f} MiB; energy: {energy}")


def finite(number: float) -> float | None:
    """None in place of what JSON has not."""
    return number if math.isfinite(number) else None


@contextmanager
def until_asked() -> Iterator[Callable[[], bool]]:
    """Whether the user or the system has asked for the end, by Ctrl-C or SIGTERM; a second time ends it at once."""
    asked = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print(line: str) -> None:
    out.print(printable(line), soft_wrap=True, markup=False)
