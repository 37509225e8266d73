"""Every attack on arrays undoes a leak in sounds, and in pictures about which something is asked.

The leak is the first layer of a small victim with random weights, nothing merged, coded or noisy.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from atm.encoder import Encoder
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS
from atm.victims import load_victim
from attacks import available, inferences
from attacks.alignment import Alignment
from attacks.amortized import Amortized
from attacks.decoder import Decoder
from attacks.generator import Generator
from attacks.identify import Identify
from attacks.session import Campaign, Session
from attacks.shadow import Shadow
from attacks.training import Schedule
from tests.attacks.test_asking import asked
from tests.sounds import whisper
from tests.systems import pictures
from tests.test_sounds_matrix import sounds

# Who has all that the server has needs no attack that makes up for what she lacks.
THREATS = {"shadow": "black-box", "alternating": "server-no-map", "position": "server-no-map"}
KINDS = {"log-mel": sounds, "asked-image": pictures}
BRIEF = Schedule(steps=60, batch=16, every=30)
ATTACKS = sorted(name for name, each in available().items() if each.serves("log-mel") and not each.blind)


@pytest.fixture(scope="module", autouse=True)
def brief():
    with pytest.MonkeyPatch.context() as patch:
        for make in (Decoder, Generator, Amortized, Shadow):
            patch.setattr(make, "QUICK", {**make.QUICK, "schedule": BRIEF})
        patch.setattr(Alignment, "QUICK", {"schedule": Schedule(rate=3e-3, steps=80, every=40)})
        patch.setattr("attacks.descent.CHOOSING", 4)
        yield


@pytest.fixture(scope="module")
def victims(tmp_path_factory) -> dict[str, Encoder]:
    path = tmp_path_factory.mktemp("whisper")
    whisper(path)
    return {"log-mel": load_victim(str(path)).encoder, "asked-image": asked()}


@cache
def session(encoder: Encoder, kind: str, threat: str) -> Session:
    link = Link(encoder, MergePolicy.uniform(1.0, encoder.depth, exit_layer=1))
    return Session(link, PRESETS[threat], KINDS[kind](240, 1), campaign=Campaign(quick=True))


def error(rebuilt: Tensor, originals: Tensor) -> float:
    return float((rebuilt - originals).square().mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_undoes_what_the_first_layer_does(victims, kind, name):
    attacked, own = session(victims[kind], kind, THREATS.get(name, "server")), KINDS[kind](240, 1)
    known = own[:8] + 0.002 if name == "nearest" else KINDS[kind](8, 0)  # retrieval finds what she has
    rebuilt = attacked.fitted(available()[name]).reconstruct(attacked.victims(known.clamp(0, 1))[1])
    assert victims[kind].signal.fault(rebuilt.cpu(), 8) is None
    assert error(rebuilt, known) < 0.6 * error(own[:216].mean(0).expand_as(known), known), (
        "the mean of hers reads nothing"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_is_told_among_others(victims, kind):
    assert "identify" in inferences()
    attacked, known = session(victims[kind], kind, "server"), KINDS[kind](30, 0)
    inference = Identify()
    torch.manual_seed(0)
    inference.fit(attacked.oracle())
    similarity = inference.infer(attacked.victims(known)[1], known).similarity
    assert float((similarity.argmax(-1) == torch.arange(30)).float().mean()) > 0.9
