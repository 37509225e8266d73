"""Where the time of a frame goes: every stage of device, air and server on one machine, after a warm-up."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atm.errors import AtmError
from atm.matching import merged
from audit.joules import joules
from audit.live.sources import Shot
from audit.live.system import Live

QUANTILES = {"median": 0.5, "p95": 0.95, "p99": 0.99}


class Stopwatch:
    """Seconds of every stage, in the order in which stages came.

    Args:
        device: whose work is waited for at the end of a stage.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, list[float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block takes."""
        began = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count what was measured elsewhere."""
        self.seconds.setdefault(name, []).append(seconds)


@torch.no_grad()
def frame(live: Live, image: Tensor, watch: Stopwatch, generator: torch.Generator) -> Tensor:
    """One picture ``[C, H, W]`` from end to end, stage by stage; logits ``[1, classes]``."""
    link = live.link
    encoder, policy = link.encoder, link.policy
    with watch.stage("embed"):
        tokens = encoder.start(image[None].to(link.device), policy.order == "tome")
    for layer in range(policy.device_layers):
        with watch.stage(f"layer {layer + 1}, attention"):
            tokens, projected = encoder.mix(tokens, policy, layer)
        if policy.merges_at(layer):
            with watch.stage(f"layer {layer + 1}, merging"):
                tokens = merged(tokens, projected, policy, layer)
        with watch.stage(f"layer {layer + 1}, MLP"):
            tokens = encoder.transform(tokens, layer)
    if policy.order == "tome":
        tokens = tokens.in_place()
    with watch.stage("defence and codec"):
        sent, symbols, side = link.emit(tokens, generator)
    with watch.stage("header"):
        live.modes[0].header.write(sent, side.cpu())
    with watch.stage("channel (simulated)"):
        arrived = link.tune_in(link.channel, symbols, sent.lengths, generator)
    with watch.stage("server, codec"):
        received = link.receive(arrived.symbols, side, sent, arrived.snr_db)
    with watch.stage("server, layers and head"):
        return link.answer(received)


@dataclass(frozen=True)
class Profile:
    """What was measured.

    Attributes:
        stages: seconds of every frame by stage, and ``together``.
        peak_bytes: of memory that the process has held, loading included.
        joules: of a frame by the processor's own counter, idle power included; None where there is none to read.
        about: threads, device, number of frames.
    """

    stages: dict[str, np.ndarray]
    peak_bytes: int
    joules: float | None
    about: dict[str, Any]

    def rows(self) -> list[list[str]]:
        """A row for each stage: its name, and quantiles in milliseconds."""
        return [
            [name, *(f"{1000 * np.quantile(values, q):.2f}" for q in QUANTILES.values())]
            for name, values in self.stages.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; quantiles in milliseconds."""
        stages = {
            name: {word: float(1000 * np.quantile(values, q)) for word, q in QUANTILES.items()}
            for name, values in self.stages.items()
        }
        energy = "not measured" if self.joules is None else self.joules
        return {**self.about, "peak_bytes": self.peak_bytes, "joules_per_frame": energy, "milliseconds": stages}


def profile(live: Live, shots: Iterable[Shot], warmup: int, threads: int) -> Profile:
    """Run frames one by one on so many threads, each pinned to processors of its own where the system can.

    Args:
        live: the system.
        shots: frames; the first ``warmup`` are not counted.
        warmup: frames.
        threads: of the processor.

    Raises:
        AtmError: no frame is left to measure.
    """
    watch, generator = Stopwatch(live.link.device), torch.Generator().manual_seed(0)
    counted, begun = 0, None
    with pinned(threads):
        for number, shot in enumerate(shots):
            if number == warmup:
                watch, begun = Stopwatch(live.link.device), joules()
            watch.add("capture", shot.seconds)
            frame(live, shot.image, watch, generator)
            counted += number >= warmup
        ended = joules()
    if not counted:
        raise AtmError(f"no frame is left to measure after {warmup} for the warm-up; give more --images or --passes")
    stages = {name: np.array(values) for name, values in watch.seconds.items()}
    stages["together"] = np.sum(list(stages.values()), 0)
    used = None if begun is None or ended is None or ended < begun else (ended - begun) / counted
    about = {"frames": counted, "threads": threads, "device": str(live.link.device)}
    return Profile(stages, peak_bytes(), used, about)


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """So many threads of torch, on as many processors where the system lets one choose.

    Raises:
        AtmError: there are fewer processors.
    """
    able = sys.platform == "linux"
    mine = sorted(os.sched_getaffinity(0)) if able else list(range(os.cpu_count() or 1))
    if not 1 <= threads <= len(mine):
        raise AtmError(f"--threads {threads}: this process may use {len(mine)} processors")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    if able:
        os.sched_setaffinity(0, mine[:threads])
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if able:
            os.sched_setaffinity(0, mine)


def peak_bytes() -> int:
    """Memory that this process has held at most."""
    unit = 1 if sys.platform == "darwin" else 1024  # of the same number, by the systems' manuals
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
