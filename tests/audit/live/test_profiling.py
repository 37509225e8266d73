"""Profiles: stages that together are the link, counted after a warm-up."""

from __future__ import annotations

import os

import pytest
import torch

from atm.errors import AtmError
from audit.joules import joules
from audit.live.profiling import QUANTILES, Stopwatch, frame, pinned, profile
from audit.live.sources import Stills, shots
from tests.audit.live.systems import live, shot
from tests.systems import pictures


@pytest.mark.parametrize("victim", ["absolute", "rotary"])
@pytest.mark.parametrize("codec", ["uncoded", "learned"])
def test_the_stages_together_are_the_link(codec, victim):
    here = live(victim=victim, codec=codec, exit_layer=2)
    watch = Stopwatch(torch.device("cpu"))
    logits = frame(here, shot(0).image, watch, torch.Generator().manual_seed(5))
    assert torch.equal(logits, here.link.transmit(shot(0).image[None], seed=5).logits)
    stages = ["embed", *(f"layer {n}, {part}" for n in (1, 2) for part in ("attention", "merging", "MLP"))]
    assert list(watch.seconds) == [*stages, "defence and codec", "header", "channel (simulated)", "server, codec",
                                   "server, layers and head"]  # fmt: skip


def test_the_warm_up_does_not_count_and_rows_are_quantiles():
    here = live()
    found = profile(here, shots(Stills(pictures(4), passes=3)), warmup=5, threads=1)
    assert found.about["frames"] == 7 and all(len(values) == 7 for values in found.stages.values())
    told = found.as_dict()["milliseconds"]
    parts = [values for name, values in found.stages.items() if name != "together"]
    assert abs(sum(parts) - found.stages["together"]).max() < 1e-9
    for name, quantiles in told.items():
        assert quantiles["median"] <= quantiles["p95"] <= quantiles["p99"], name
    assert [len(row) for row in found.rows()] == [1 + len(QUANTILES)] * len(told)
    assert found.peak_bytes > 2**24
    with pytest.raises(AtmError, match="no frame is left"):
        profile(here, shots(Stills(pictures(4))), warmup=4, threads=1)


def test_threads_are_pinned_and_let_go():
    mine = os.sched_getaffinity(0)
    before = torch.get_num_threads()
    with pinned(1):
        assert len(os.sched_getaffinity(0)) == 1 == torch.get_num_threads()
    assert os.sched_getaffinity(0) == mine and torch.get_num_threads() == before
    for threads in (0, len(mine) + 1):
        with pytest.raises(AtmError, match="processors"), pinned(threads):
            pass


def test_energy_is_read_where_it_is_counted(tmp_path):
    assert joules(tmp_path) is None
    (tmp_path / "energy_uj").write_text("2500000\n")
    assert joules(tmp_path) == 2.5
