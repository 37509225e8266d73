"""Speed of the merging engine against timm and against fixed-ratio ToMe, in one process on the same photographs.

Efficiency is (images/s / timm's images/s) / (timm's FLOPs / our FLOPs): 1 means that every saved FLOP is saved time.
Folders of transformers are measured against transformers in timm's place, which fills sentences up to the longest.
The three sides take turns, in alternating order, and the median of each counts. All start from images in [0, 1] and end
at the logits. ToMe is this engine's own fixed-ratio policy with as many tokens, on average, at every layer.

timm names run with random weights, whose similarities mean nothing: thresholds are chosen per layer, on other crops of
the same photographs than those measured, so that the wanted part of the FLOPs is saved. Shipped victims run with
their own weights.

Runs like these:
  python -m benchmarks.engine
  python -m benchmarks.engine --json --models vit_small_patch16_224 --saved 0.3 0.5 --repeats 9
  python -m benchmarks.engine --batch 1 --models vit_tiny_patch16_224 --saved 0 0.3
  python -m benchmarks.engine --models minilm-l6-v2 --data SST-2 --saved 0 0.3 0.5
  python -m benchmarks.engine --models whisper-tiny.en --data fsdd.tar --image-size 80x100 --saved 0 0.3 0.5
  python -m benchmarks.engine --threads 1 --clock cpu     on a busy machine: CPU time of one thread, not wall time
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from atm.calibration import fixed_ratio_like, policy_saving
from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.victims import victims
from benchmarks.command import Parser, fraction, positive, run
from benchmarks.rows import head, line, stream
from benchmarks.subjects import VITS, Subject, subject

CALIBRATION_IMAGES = 32
HEADINGS = (
    "model", "batch:", "FLOPs saved:", "tokens left:", "images/s:", "timm:", "ToMe:", "efficiency:", "linearity:",
    "peak MB:", "timm:",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        device: what computed.
        threads: CPU threads.
        clock: ``wall`` or ``cpu``.
        model: timm name or shipped victim.
        batch: images at a time.
        flops_saved: part of timm's FLOPs, counted, mean over the images.
        tokens: mean number at the exit.
        images_per_s: this engine.
        images_per_s_timm: timm's own forward pass.
        images_per_s_tome: the fixed-ratio baseline in this engine.
        efficiency: see above.
        linearity: time of the batch over twice the time of its first half; 1 is linear in the images.
        peak_mb: memory that one batch needs beyond the weights; None where it cannot be measured.
        peak_mb_timm: likewise.
    """

    device: str
    threads: int
    clock: str
    model: str
    batch: int
    flops_saved: float
    tokens: float
    images_per_s: float
    images_per_s_timm: float
    images_per_s_tome: float
    efficiency: float
    linearity: float
    peak_mb: float | None
    peak_mb_timm: float | None


def main(arguments: list[str] | None = None) -> None:
    """Print the results, a table or a JSON object per line."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise AtmError("there is no CUDA device here; give --device cpu")
    if options.clock == "cpu" and (torch.get_num_threads() != 1 or options.device != "cpu"):
        raise AtmError("--clock cpu counts one thread only; add --threads 1 --device cpu")
    stream(measure(options.models or [*VITS, *victims()], options), options.json, _line, head(HEADINGS))


@torch.inference_mode()
def measure(models: list[str], options: argparse.Namespace) -> Iterator[Row]:
    """A row for each model, batch size and wanted saving."""
    for name in models:
        if options.device == "cuda" and Path(name).is_dir():
            raise AtmError(f"{name} is a folder of transformers, which are measured on a CPU only")
        chosen = subject(name, options.data, options.image_size)
        chosen.encoder.to(options.device, torch.bfloat16 if options.device == "cuda" else torch.float32)
        for batch in options.batch:
            for saved in options.saved:
                yield _row(name, chosen, batch, saved, options)


def _row(name: str, chosen: Subject, batch: int, saved: float, options: argparse.Namespace) -> Row:
    encoder = chosen.encoder
    images = chosen.draw(batch, 0)
    policy = MergePolicy.uniform(1.0, encoder.depth)
    if saved:
        policy = policy_saving(encoder, chosen.draw(CALIBRATION_IMAGES, 1), saved)
    encoded = encoder(images, policy)
    tome = fixed_ratio_like(encoder, encoded.layer_tokens) if saved else policy

    def through(chosen: MergePolicy, pictures: Tensor = images) -> Callable[[], object]:
        return lambda: encoder.finish(encoder(pictures, chosen).tokens, chosen)

    sides = {
        "ours": through(policy),
        "timm": chosen.reference(images),
        "tome": through(tome),
        "half": through(policy, images[: max(1, batch // 2)]),
    }
    seconds = _seconds(sides, options)
    rate = {side: batch / median for side, median in seconds.items()}
    part = (float(encoded.flops.sum()) + _flops(lambda: encoder.finish(encoded.tokens, policy))) / _flops(sides["timm"])
    return Row(
        device=torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        clock=options.clock,
        model=name,
        batch=batch,
        flops_saved=round(1 - part, 4),
        tokens=round(float(encoded.tokens.lengths.double().mean()), 1),
        images_per_s=round(rate["ours"], 2),
        images_per_s_timm=round(rate["timm"], 2),
        images_per_s_tome=round(rate["tome"], 2),
        efficiency=round(rate["ours"] / rate["timm"] * part, 3),
        linearity=round(seconds["ours"] / seconds["half"] / 2, 3) if batch > 1 else 1.0,
        peak_mb=_peak_mb(sides["ours"], options.device),
        peak_mb_timm=_peak_mb(sides["timm"], options.device),
    )


# Seconds of rest before each call: threads that the side before left behind wait for more work, on cores that this one
# needs, for some milliseconds. Without it the engine lost 6 of 21 ms to timm's.
SETTLED = 0.02


def _seconds(sides: dict[str, Callable[[], object]], options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of each side; they take turns, every other round in reverse."""
    clock = time.thread_time if options.clock == "cpu" else time.perf_counter
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for repeat in range(-options.warmup, options.repeats):
        for side in list(sides) if repeat % 2 else reversed(sides):
            time.sleep(SETTLED)
            begun = clock()
            sides[side]()
            if options.device == "cuda":
                torch.cuda.synchronize()
            if repeat >= 0:
                taken[side].append(clock() - begun)
    return {side: statistics.median(times) for side, times in taken.items()}


def _flops(run: Callable[[], object]) -> float:
    """Operations of a call, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def _peak_mb(run: Callable[[], object], device: str) -> float | None:
    """Memory that a call needs at its peak beyond what was in use, in MB; on a CPU resident memory, on Linux only."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        run()
        return round((torch.cuda.max_memory_allocated() - held) / 1e6, 1)
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # else memory that was freed but kept would hide what is needed
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    except OSError:
        return None
    before = _status("VmRSS")
    run()
    return round((_status("VmHWM") - before) / 1e3, 1)


def _status(field: str) -> float:
    """A field of this process's status, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(field)).split()[1])


def _line(row: Row) -> str:
    rates = (f"{rate:g}" for rate in (row.images_per_s, row.images_per_s_timm, row.images_per_s_tome))
    ratios = f"{row.efficiency:.2f}", f"{row.linearity:.2f}"
    saved = f"{row.flops_saved:.0%}"
    return line([row.model, row.batch, saved, f"{row.tokens:g}", *rates, *ratios, row.peak_mb, row.peak_mb_timm])


def _parser() -> Parser:
    parser = Parser("engine", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    parser.add_argument(
        "--models",
        nargs="+",
        help="timm names, shipped victims, or folders of transformers; by default ViT-Ti/S/B and the shipped",
    )
    parser.add_argument(
        "--saved", nargs="+", type=fraction, default=[0.0, 0.3, 0.5, 0.7], help="parts of the FLOPs to save"
    )
    parser.add_argument("--data", help="sentences or sounds for a folder's model, as atm attack takes them")
    parser.add_argument("--image-size", help="window of a folder's model that hears, such as 80x100")
    parser.add_argument("--batch", nargs="+", type=positive, default=[32], help="images at a time")
    parser.add_argument("--repeats", type=positive, default=5, help="rounds of which the median counts")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before those that count")
    parser.add_argument("--threads", type=positive, help="CPU threads; by default torch's choice")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: time of the one thread, no waiting"
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cuda runs in bfloat16",
    )
    return parser


if __name__ == "__main__":
    run(main)
