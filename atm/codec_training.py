"""Training of token codecs: token distortion and task loss over a range of SNRs and merging policies.

The victim stays frozen and the attackers play no part (the setting of arXiv 2509.09955).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from atm.channels import Awgn
from atm.codec import JsccCodec
from atm.data import ImageSet
from atm.link import Link
from atm.policy import MergePolicy
from atm.progress import track
from atm.tokens import TokenBatch
from atm.zoo import Victim

SNR_RANGE_DB = (0.0, 20.0)
THRESHOLDS = (1.0, 0.9, 0.8, 0.7)


def train_codec(
    victim: Victim,
    train: ImageSet,
    *,
    symbols_per_token: int = 32,
    hidden: int = 256,
    steps: int = 2000,
    batch: int = 64,
    task_weight: float = 0.1,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[JsccCodec, dict[str, Any]]:
    """A codec for a victim's tokens, and the description that goes into its file.

    Args:
        victim: whose tokens it carries, and whose answers to the clean tokens the task loss keeps.
        train: pictures to make tokens of.
        symbols_per_token: complex symbols per token.
        hidden: width of the codec's networks.
        steps: of AdamW, under a one-cycle schedule.
        batch: pictures per step.
        task_weight: of the cross-entropy to the victim's own answers, beside the standardised mean squared error.
        seed: of weights, order, SNR and noise.
        report: called with a line now and then.
    """
    torch.manual_seed(seed)
    encoder = victim.encoder
    policies = [MergePolicy.uniform(t, encoder.depth) for t in THRESHOLDS]
    sources = [_tokens(victim, train, policy) for policy in track(policies, "encoding the training pictures")]
    codec = JsccCodec(encoder.width, symbols_per_token, hidden)
    codec.standardise_to(torch.cat([tokens.values for tokens, _ in sources]))
    optimizer = torch.optim.AdamW(codec.parameters(), 2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in track(range(1, steps + 1), "training the codec"):
        kind = int(torch.randint(len(sources), ()))
        tokens, answers = sources[kind]
        rows = torch.randint(len(tokens), (batch,))
        part = tokens.select(rows)
        snr_db = float(torch.empty(()).uniform_(*SNR_RANGE_DB))
        arrived = _through(codec, part, snr_db)
        distortion = ((arrived - part.values) / codec.deviation).square().mean()
        logits = encoder.finish(part.with_values(arrived), policies[kind])
        loss = distortion + task_weight * cross_entropy(logits, answers[rows].softmax(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            report(f"step {step}/{steps}: distortion {float(distortion.detach()):.3f}, loss {float(loss.detach()):.3f}")
    codec.eval().requires_grad_(False)
    return codec, {
        "kind": "codec",
        "architecture": codec.config,
        "victim": victim.digest,
        "data": {"name": train.name, "images": len(train), "digest": train.digest},
        "snr_range_db": SNR_RANGE_DB,
        "thresholds": THRESHOLDS,
        "steps": steps,
        "seed": seed,
    }


def accuracy_over(
    victim: Victim, codec: JsccCodec, data: ImageSet, snr_db: float, policy: MergePolicy, seed: int
) -> float:
    """Task accuracy on ``data`` when its tokens travel through the codec over AWGN."""
    logits = Link(victim.encoder, policy, codec, Awgn(snr_db)).transmit(data.images, seed).logits
    return float((logits.argmax(-1) == data.labels).float().mean())


def _tokens(victim: Victim, data: ImageSet, policy: MergePolicy) -> tuple[TokenBatch, Tensor]:
    sent = Link(victim.encoder, policy).transmit(data.images)
    return sent.sent, sent.logits


def _through(codec: JsccCodec, tokens: TokenBatch, snr_db: float) -> Tensor:
    symbols, side = codec.encode(tokens, snr_db)
    return codec.decode(Awgn(snr_db)(symbols), side, tokens, snr_db)
