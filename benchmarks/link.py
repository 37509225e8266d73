"""What codec and channel add to the encoder's time, in one process on the same photographs.

For each victim, batch size and policy the encoder (images in [0, 1] to tokens) and the link (codec, channel, codec:
tokens to the server's estimate of them) take turns; the median of each counts. The overhead is link_s / encoder_s.

Runs like these:
  python -m benchmarks.link
  python -m benchmarks.link --json --victims vit_cifar10 --batch 32 --policies none uniform-0.9
  python -m benchmarks.link --codec auto:16 --channel awgn:0
  python -m benchmarks.link --threads 1 --clock cpu     on a busy machine: CPU time of one thread, not wall time
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from atm import channels, codecs, policy
from atm.errors import AtmError
from atm.victims import Victim, load_victim
from benchmarks.command import Parser, positive, run
from benchmarks.photographs import photographs
from benchmarks.rows import head, line, stream

HEADINGS = (
    "victim", "codec", "channel", "batch:", "policy", "tokens:", "encoder ms:", "link ms:", "overhead:",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Attributes:
        device: what computed.
        threads: CPU threads.
        clock: ``wall`` or ``cpu``.
        victim: shipped victim or file.
        codec: its name.
        symbols_per_token: its rate.
        channel: between the two.
        batch: images at a time.
        policy: what merged.
        tokens: mean number that was sent.
        encoder_s: seconds of the encoder for the batch.
        link_s: seconds of codec and channel for the batch.
        overhead: ``link_s / encoder_s``.
    """

    device: str
    threads: int
    clock: str
    victim: str
    codec: str
    symbols_per_token: int
    channel: str
    batch: int
    policy: str
    tokens: float
    encoder_s: float
    link_s: float
    overhead: float


def main(arguments: list[str] | None = None) -> None:
    """Print the results, a table or a JSON object per line."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.clock == "cpu" and torch.get_num_threads() != 1:
        raise AtmError("--clock cpu counts one thread only; add --threads 1")
    stream(measure(options), options.json, _line, head(HEADINGS))


@torch.inference_mode()
def measure(options: argparse.Namespace) -> Iterator[Row]:
    """A row for each victim, batch size and policy."""
    for name in options.victims:
        victim = load_victim(name)
        for batch in options.batch:
            for chosen in options.policies:
                yield _row(victim, batch, policy.load(chosen, victim.encoder.depth), options)


def _row(victim: Victim, batch: int, chosen: policy.MergePolicy, options: argparse.Namespace) -> Row:
    codec, _ = codecs.load_codec(options.codec, victim)
    channel = channels.parse(options.channel)
    images = photographs(batch, victim.encoder.input_shape[1])
    clock = time.thread_time if options.clock == "cpu" else time.perf_counter
    encoding, linking = [], []
    for repeat in range(-options.warmup, options.repeats):
        begun = clock()
        tokens = victim.encoder(images, chosen).tokens
        encoded = clock()
        symbols, side = codec.encode(tokens, channel.snr_db)
        codec.decode(channel(symbols), side, tokens, channel.snr_db)
        arrived = clock()
        if repeat >= 0:
            encoding.append(encoded - begun)
            linking.append(arrived - encoded)
    encoder_s, link_s = statistics.median(encoding), statistics.median(linking)
    return Row(
        device="cpu",
        threads=torch.get_num_threads(),
        clock=options.clock,
        victim=victim.name,
        codec=codec.name,
        symbols_per_token=codec.symbols_per_token,
        channel=options.channel,
        batch=batch,
        policy=chosen.name,
        tokens=round(float(tokens.lengths.double().mean()), 1),
        encoder_s=round(encoder_s, 6),
        link_s=round(link_s, 6),
        overhead=round(link_s / encoder_s, 4),
    )


def _line(row: Row) -> str:
    about = row.victim, f"{row.codec}:{row.symbols_per_token}", row.channel, row.batch, row.policy, f"{row.tokens:g}"
    return line([*about, f"{row.encoder_s * 1e3:.1f}", f"{row.link_s * 1e3:.1f}", f"{row.overhead:.1%}"])


def _parser() -> Parser:
    parser = Parser("link", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    parser.add_argument("--victims", nargs="+", default=["vit_cifar10"], help="shipped victims or files")
    parser.add_argument("--codec", default="auto", help="as in atm attack")
    parser.add_argument("--channel", default="awgn:10", help="as in atm attack")
    parser.add_argument("--policies", nargs="+", default=["none", "moderate", "aggressive"], help="as in atm attack")
    parser.add_argument("--batch", nargs="+", type=positive, default=[32], help="images at a time")
    parser.add_argument("--repeats", type=positive, default=15, help="rounds of which the median counts")
    parser.add_argument("--warmup", type=int, default=3, help="rounds before those that count")
    parser.add_argument("--threads", type=positive, help="CPU threads; by default torch's choice")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: time of the one thread, no waiting"
    )
    return parser


if __name__ == "__main__":
    run(main)
