"""MiniLM on SST-2, where both are at hand: it gets a head, merges, and its words are given back."""

from __future__ import annotations

import tarfile

import pytest
import torch

from atm.data.kinds import source
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from atm.victims import load_victim, probe
from attacks.session import Session
from attacks.word_ridge import WordRidge
from privacy_metrics.words import rouge_l
from tests.atm.victims.test_real import weights

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.fixture(scope="module")
def sst2(tmp_path_factory):
    from tests.conftest import SHARED

    archive = SHARED / "data" / "glue_small.tar.gz"
    if not archive.exists():
        pytest.skip("needs ../shared/data/glue_small.tar.gz, which is missing")
    folder = tmp_path_factory.mktemp("glue")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return next(folder.rglob("SST-2"))


def test_minilm_reads_sst2_merges_and_leaks_at_its_first_layer(sst2):
    victim = load_victim(str(weights("minilm-l6-v2")))
    signal = victim.encoder.signal
    data = source(signal).splits(signal, str(sst2), victims=30, auxiliary=400)
    probed = probe.probed(victim, source(signal).load(signal, str(sst2), "train", limit=600))
    answers = probed.answers(data.victims)
    assert answers.name == "accuracy"
    assert float((probed.logits(data.victims).argmax(-1) == answers.truth).double().mean()) > 0.6
    merging = MergePolicy.preset("aggressive", victim.encoder.depth)
    encoded = victim.encoder(data.victims.inputs, merging)
    assert float(encoded.tokens.lengths.double().mean()) < float((data.victims.words >= 0).sum(1).double().mean())
    link = Link(victim.encoder, MergePolicy.uniform(1.0, victim.encoder.depth, exit_layer=1))
    session = Session(link, ThreatModel("server"), data.hers)
    torch.manual_seed(0)
    rebuilt = session.fitted(WordRidge).reconstruct(session.victims(data.victims.inputs)[1])
    assert float(rouge_l(rebuilt, data.victims.words).mean()) > 0.95
