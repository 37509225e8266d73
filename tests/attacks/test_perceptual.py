"""The decoder that is trained for what people see: it gains by what it is told to look at, and spoils nothing."""

from __future__ import annotations

import pytest
import torch

from atm.errors import AtmError
from atm.threat import ThreatModel
from attacks.decoder import Decoder
from attacks.perceptual import CROP, Perceptual, _square
from attacks.session import Session
from attacks.training import Schedule
from audit.suite import choose_attacks, lacking
from privacy_metrics import psnr
from tests.attacks.planted import SERVER, PlantedLink, pictures, rotation

BRIEF = Schedule(steps=10, every=5)


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Where it starts from is trained for a moment."""
    monkeypatch.setattr(Decoder, "QUICK", {"schedule": Schedule(steps=30, every=15)})


def folded(patches: torch.Tensor) -> torch.Tensor:
    """What no linear map undoes: how far each pixel is from grey, and on which side some mixtures of them lie."""
    return torch.cat([(patches - 0.5).abs(), (patches @ rotation()[:, :64]).sign()], -1)


def attacked(link, auxiliary, victims, **parameters):
    """The decoder that it starts from, its output, the attack, and its output."""
    session = Session(link, SERVER, auxiliary)
    _, seen, _ = session.victims(victims)
    decoder, attack = session.fitted(Decoder), Perceptual(**parameters)
    torch.manual_seed(0)
    before = decoder.reconstruct(seen)
    attack.fit(session.oracle())
    return decoder, before, attack, attack.reconstruct(seen), decoder.reconstruct(seen)


def test_it_goes_where_the_distance_leads_on_pictures_that_it_never_saw(monkeypatch):
    def to_brighter(estimate: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return 9 * (estimate.mean((1, 2, 3)) - truth.mean((1, 2, 3)) - 0.2).abs()

    monkeypatch.setattr("attacks.perceptual.distance", lambda device: to_brighter)
    victims, schedule = pictures(6, seed=1), Schedule(steps=30, every=10, batch=8, rate=3e-3)
    _, before, attack, after, _ = attacked(PlantedLink(folded), pictures(40), victims, schedule=schedule)
    assert float((after - before).mean()) > 0.05
    assert attack.history.best_step > 0


def test_a_leak_that_is_there_in_full_stays_in_full(planted):
    victims = pictures(10, seed=1)
    *_, after, _ = attacked(PlantedLink(lambda p: p @ rotation()), pictures(300), victims, schedule=BRIEF)
    assert float(psnr(after, victims).min()) > 35


def test_where_training_spoils_it_answers_as_the_decoder(planted):
    victims = pictures(6, seed=1)
    schedule = Schedule(steps=3, every=1, rate=10.0)
    decoder, before, attack, after, later = attacked(PlantedLink(folded), pictures(60), victims, schedule=schedule)
    assert attack.history.best_step == 0 and torch.equal(before, after)
    assert attack.decoder.network is not decoder.network and torch.equal(before, later), "the decoder stays as it was"


def test_lpips_sees_the_same_square_of_both():
    large = torch.rand(2, 3, 224, 130)
    ours, theirs = _square(large, large)
    assert ours.shape == (2, 3, CROP, CROP) and torch.equal(ours, theirs)
    assert _square(large[..., :32, :], large[..., :32, :])[0].shape == (2, 3, 32, CROP)


def test_without_weights_one_line_says_so_and_all_runs_without_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _refused)
    with pytest.raises(AtmError, match="'perceptual' cannot run here: LPIPS needs alexnet") as caught:
        choose_attacks(("perceptual",), SERVER)
    assert "\n" not in str(caught.value)
    assert "perceptual" not in choose_attacks(("all",), SERVER)[0]
    (line,) = lacking(("all",), "image")
    assert line in str(caught.value), "and the run notes it"
    assert not lacking((), "image") and not lacking(("ridge",), "image") and not lacking(("all",), "text")


def test_it_runs_when_asked_for(planted):
    assert "perceptual" in choose_attacks(("all",), SERVER)[0]
    assert choose_attacks(("perceptual",), ThreatModel("server"))[0][-1] == "perceptual"
    assert "perceptual" not in choose_attacks((), SERVER)[0]


def _refused(*_, **__):
    raise OSError("no network")
