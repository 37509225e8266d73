"""Training of token codecs: token distortion and task loss over a range of SNRs, rates and merging policies.

The victim stays frozen and the attackers play no part (the setting of arXiv 2509.09955).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import kl_div

from atm import precision
from atm.channels import Awgn
from atm.data import Samples
from atm.jscc import SNR_RANGE_DB, JsccCodec
from atm.link import Link
from atm.policy import MergePolicy
from atm.progress import track
from atm.tokens import TokenBatch
from atm.victims import Victim

RATES = (32, 16, 48, 64)
UNMERGED = 1 / 3  # part of the steps on tokens that were not merged at all
POLICIES = 15  # random ones for the rest
LOWEST_THRESHOLD = 0.5
RATE_OF_LEARNING = 1e-3


class Source(NamedTuple):
    """Tokens of training pictures under one policy, and the victim's answers to them as they are."""

    policy: MergePolicy
    tokens: TokenBatch
    logits: Tensor


def train_codec(
    victim: Victim,
    train: Samples,
    *,
    rates: Sequence[int] = RATES,
    hidden: int | None = None,
    depth: int = 1,
    exit_layer: int | None = None,
    steps: int = 4000,
    batch: int = 64,
    task_weight: float = 1.0,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[JsccCodec, dict[str, Any]]:
    """A codec for a victim's tokens, on its device, and the description that goes into its file.

    Args:
        victim: whose tokens it carries, and whose answers to the clean tokens the task loss keeps.
        train: pictures to make tokens of.
        rates: complex symbols per token that it learns to use; the first is its default.
        hidden: values per token inside the codec; None takes two thirds of the victim's width.
        depth: transformer blocks on either side.
        exit_layer: the layer after which tokens leave the device; None is the last. A codec is for one layer's tokens.
        steps: of AdamW, under a one-cycle schedule.
        batch: pictures per step.
        task_weight: of the divergence from the victim's own answers (KL, in nats), beside the standardised squared
            error per value.
        seed: of weights, policies, order, SNR, rate and noise.
        report: called with a line now and then.
    """
    torch.manual_seed(seed)
    encoder = victim.encoder
    sources = _sources(victim, train, exit_layer)
    codec = JsccCodec(encoder.width, rates, hidden or max(32, round(encoder.width / 48) * 32), depth)
    codec.to(encoder.device)
    codec.start_from(TokenBatch.cat([source.tokens for source in sources]))
    optimizer = torch.optim.AdamW(codec.parameters(), RATE_OF_LEARNING, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE_OF_LEARNING, total_steps=steps, pct_start=0.1)
    recent: list[tuple[float, float]] = []
    for step in track(range(1, steps + 1), "training the codec"):
        unmerged = len(sources) == 1 or float(torch.rand(())) < UNMERGED
        source = sources[0 if unmerged else int(torch.randint(1, len(sources), ()))]
        rows = torch.randint(len(source.tokens), (batch,))
        at_rate = codec.at_rate(codec.rates[int(torch.randint(len(codec.rates), ()))])
        snr_db = float(torch.empty(()).uniform_(*SNR_RANGE_DB))
        tokens = source.tokens.select(rows)
        arrived = _through(at_rate, tokens, snr_db)
        distortion = standardised_error(codec, arrived, tokens)
        logits = encoder.finish(tokens.with_values(arrived), source.policy)
        divergence = kl_div(
            logits.log_softmax(-1), source.logits[rows].log_softmax(-1), log_target=True, reduction="batchmean"
        )
        optimizer.zero_grad()
        (distortion + task_weight * divergence).backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append((float(distortion.detach()), float(divergence.detach())))
        if step % 200 == 0:
            means = torch.tensor(recent[-200:]).mean(0).tolist()
            report(f"step {step}/{steps}: distortion {means[0]:.3f}, divergence {means[1]:.4f}")
    codec.eval().requires_grad_(False)
    return codec, {
        "kind": "codec",
        "architecture": codec.config,
        "victim": victim.digest,
        "exit_layer": sources[0].policy.device_layers,
        "data": {"name": train.name, "images": len(train), "digest": train.digest},
        "snr_range_db": SNR_RANGE_DB,
        "policies": [list(source.policy.thresholds) for source in sources],
        "steps": steps,
        "batch": batch,
        "task_weight": task_weight,
        "seed": seed,
    }


def standardised_error(codec: JsccCodec, arrived: Tensor, tokens: TokenBatch) -> Tensor:
    """Mean squared error of token values, each in units of its deviation over the training tokens; 1 knows nothing."""
    return ((arrived - tokens.values) / codec.scale_of(tokens)).square().mean()


@torch.no_grad()
def accuracies(
    victim: Victim, codec: JsccCodec, data: Samples, snrs_db: Sequence[float], policy: MergePolicy, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Task accuracy on ``data`` over AWGN, by rate and SNR, and what it is where the tokens arrive unchanged."""
    sent = Link(victim.encoder, policy).transmit(data.inputs)
    batches = torch.arange(len(data)).split(128)

    def accuracy(logits: Tensor) -> float:
        return round(float((logits.argmax(-1).cpu() == data.labels).float().mean()), 4)

    def over_air(at_rate: JsccCodec, snr_db: float) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        logits = []
        for tokens in (sent.sent.select(rows) for rows in batches):
            symbols, side = at_rate.encode(tokens, snr_db)
            arrived = at_rate.decode(Awgn(snr_db)(symbols, generator), side, tokens, snr_db)
            logits.append(victim.encoder.finish(tokens.with_values(arrived), policy))
        return torch.cat(logits)

    return {"uncoded": {"noiseless": accuracy(sent.logits)}} | {
        f"{rate} symbols": {f"{snr:g} dB": accuracy(over_air(codec.at_rate(rate), snr)) for snr in snrs_db}
        for rate in sorted(codec.rates)
    }


def _sources(victim: Victim, train: Samples, exit_layer: int | None) -> list[Source]:
    """All pictures unmerged, and a share of them under each of some random policies, encoded once."""
    depth = victim.encoder.depth
    images = train.inputs
    shares = torch.randperm(len(images)).chunk(POLICIES)
    asked = [(MergePolicy.uniform(1.0, depth, name="none", exit_layer=exit_layer), images)]
    asked += [(_random_policy(depth, exit_layer), images[share]) for share in shares]
    sources = []
    for policy, pictures in track(asked, "encoding the training pictures"):
        sent = Link(victim.encoder, policy).transmit(pictures)
        sources.append(Source(policy, sent.sent, sent.logits))
    return sources


def _random_policy(depth: int, exit_layer: int | None) -> MergePolicy:
    """Thresholds between a random floor and 1, each layer its own."""
    floor = float(torch.empty(()).uniform_(LOWEST_THRESHOLD, 1.0))
    thresholds = tuple(round(t, 3) for t in torch.empty(depth).uniform_(floor, 1.0).tolist())
    return MergePolicy(thresholds, exit_layer=exit_layer, name="random")


def _through(codec: JsccCodec, tokens: TokenBatch, snr_db: float) -> Tensor:
    """What arrives over AWGN. On a CPU in bfloat16, where only attention's plain kernel is fast."""
    device = tokens.values.device.type
    with ExitStack() as stack:
        if device == "cpu":
            stack.enter_context(precision.fast(device))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        symbols, side = codec.encode(tokens, snr_db)
        return codec.decode(Awgn(snr_db)(symbols), side, tokens, snr_db)
