"""Tokens whose order the adversary does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import atm.threat
from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS, Knowledge, ThreatModel
from atm.tokens import TokenBatch
from tests.atm.models import tiny_encoder


def ragged(seed: int = 0) -> TokenBatch:
    generator = torch.Generator().manual_seed(seed)
    dense = TokenBatch.dense(torch.randn(3, 9, 4, generator=generator), 1)
    short = TokenBatch(torch.randn(3, 4, generator=generator), torch.tensor([3]), torch.ones(3),
                       torch.tensor([[1, 2, 1, 2, 1, 2, 1, 2]]), 1)  # fmt: skip
    return TokenBatch.cat([dense, short])


def test_shuffling_moves_tokens_within_their_image_only_and_renumbers_the_map() -> None:
    tokens = ragged()
    shuffled, rows = tokens.shuffled(torch.Generator().manual_seed(1))
    assert torch.equal(shuffled.values, tokens.values[rows])
    assert torch.equal(rows.sort().values, torch.arange(len(rows)))
    assert torch.equal(tokens.image_of_token[rows], tokens.image_of_token)
    assert torch.equal(shuffled.protected(), tokens.protected())
    assert torch.equal(shuffled.per_patch(), tokens.per_patch())
    assert not torch.equal(shuffled.values, tokens.values)


FLAGS = list(Knowledge.EVERYTHING)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(FLAGS)), st.sampled_from(["server", "eavesdropper"]))
def test_an_observation_holds_nothing_that_is_denied(denied: set[Knowledge], tap: str) -> None:
    less = Knowledge.NOTHING
    for flag in denied:
        less |= flag
    threat = replace(ThreatModel("random", tap=tap)).without_knowledge(less)
    link = Link(tiny_encoder(), MergePolicy.uniform(0.8, 3))
    sent = link.transmit(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), 1)
    seen = threat.observe(sent, link, 3)
    assert (seen.tokens.sizes is None) == (Knowledge.SIZES not in threat.on(link).knows)
    assert (seen.tokens.source is None) == (Knowledge.MERGE_MAP not in threat.knows)
    assert (seen.snr_db is None) == (Knowledge.SNR not in threat.knows)
    if Knowledge.MERGE_MAP not in threat.knows:
        assert seen.tokens.places is None
    if Knowledge.ORDER in denied:
        assert Knowledge.MERGE_MAP not in threat.knows
        assert not torch.equal(seen.tokens.values, sent.received.values)
        assert not torch.equal(seen.symbols, sent.received_symbols)
    elif tap == "eavesdropper" and Knowledge.CODEC in denied:
        assert torch.equal(seen.tokens.values, torch.view_as_real(sent.received_symbols).flatten(1)), "not decoded"
    else:
        assert torch.equal(seen.tokens.values, sent.received.values)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_survive_plain_values(name: str) -> None:
    assert ThreatModel.from_dict(PRESETS[name].as_dict()) == atm.threat.load(name)


def test_a_map_without_the_order_is_refused() -> None:
    with pytest.raises(AtmError, match="merge map tells the order"):
        ThreatModel.from_dict({"knows": ["merge_map"]})
