"""A time budget is a number of steps, chosen once, recorded before the first of them, and replayed to the bit."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import attacks.training
from atm import channels
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS
from attacks import available
from attacks.alignment import Alignment
from attacks.base import ALIGNABLE
from attacks.budget import Budget, Plan
from attacks.decoder import Decoder
from attacks.deep_prior import DeepPrior
from attacks.generative import Generative
from attacks.optimization import Optimization
from attacks.perceptual import Perceptual
from attacks.position import Position
from attacks.ridge import Ridge
from attacks.session import Campaign, Session
from attacks.shadow import Shadow
from attacks.training import Schedule, train
from audit.evaluate import attack
from audit.setting import AttackConfig
from audit.suite import choose_attacks
from reports.verdict import verdicts
from tests.atm.models import tiny_encoder
from tests.attacks import planted
from tests.attacks.planted import SERVER, PlantedLink, rebuild, rotation
from tests.audit.conftest import pictures, victim  # noqa: F401

AUXILIARY, VICTIMS = planted.pictures(60), planted.pictures(4, seed=1)
SHORT = Schedule(steps=8, every=4)
STEPPING = {
    "decoder": (lambda: Decoder(schedule=SHORT), "server"),
    "position": (Position, "server-shuffled"),
    "optimization": (lambda: Optimization(steps=4), "server"),
    "deep_prior": (lambda: DeepPrior(steps=4), "server"),
    "generative": (lambda: Generative(steps=4), "server"),
    "perceptual": (lambda: Perceptual(schedule=SHORT), "server"),
    "shadow": (lambda: Shadow(steps=4, schedule=SHORT), "black-box"),
}


@pytest.fixture
def brief(planted, monkeypatch):
    """LPIPS has weights, and what these start from is trained for a moment."""
    for made in ("decoder.Decoder", "generator.Generator", "alignment.Alignment"):
        monkeypatch.setattr(f"attacks.{made}.QUICK", {"schedule": SHORT})


@cache
def system() -> Link:
    return Link(tiny_encoder(), MergePolicy.uniform(0.8, 3), channel=channels.parse("awgn:20"))


def run_with(name: str, plan: Plan, seconds: float) -> torch.Tensor:
    make, threat = STEPPING[name]
    session = Session(system(), PRESETS[threat], AUXILIARY, campaign=Campaign(quick=True, plan=plan))
    torch.manual_seed(0)
    found = make()
    found.fit(session.oracle(session.budget(seconds, name)))
    return found.reconstruct(session.victims(VICTIMS)[1])


@pytest.mark.parametrize("name", STEPPING)
def test_a_plan_is_replayed_to_the_bit_and_trials_leave_no_trace(name, brief):
    free = run_with(name, Plan(), float("inf"))
    recorded: dict[str, int] = {}
    tried = run_with(name, Plan(record=recorded.__setitem__), 1e6)
    assert recorded and torch.equal(free, tried), "a trial changes nothing"
    short: dict[str, int] = {}
    cut = run_with(name, Plan(record=short.__setitem__), 0.0)
    assert short.keys() <= recorded.keys() and any(short[loop] < recorded[loop] for loop in short)
    again = run_with(
        name, Plan.replaying(short, lambda *_: pytest.fail("a choice that was made is not made again")), float("inf")
    )
    assert torch.equal(cut, again)


def test_a_choice_is_recorded_before_the_first_step():
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(20, 3)

    class Stop(Exception):
        pass

    def record(loop: str, steps: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        rows, held = torch.arange(16), torch.arange(16, 20)
        loss = lambda part: network(x[part]).square().mean()  # noqa: E731
        train(network, loss, rows, held, SHORT, "it", Budget(1e6, Plan(record=record)))
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name]), "no step was taken"


def test_an_inner_budget_never_outlasts_the_outer_one():
    outer = Budget(0.0, owner="outer")
    assert outer.part(0.5, "inner").steps("loop", 100, lambda: None) == 1
    assert outer.of("another").steps("loop", 100, lambda: None, least=0) == 0
    assert not Budget().part(0.5, "inner").limited
    assert Budget().part(0.5, "inner").steps("loop", 100, lambda: pytest.fail("nothing to try")) == 100


def test_a_loop_that_is_asked_for_again_is_another_one():
    chosen: dict[str, int] = {}
    budget = Budget(1e6, Plan(record=chosen.__setitem__), "owner")
    for _ in range(2):
        budget.steps("loop", 3, lambda: None)
    assert chosen == {"owner/loop/1": 3, "owner/loop/2": 3}


def test_a_trial_restores_the_generator():
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    Budget(1e6).steps("loop", 3, lambda: torch.rand(5))
    assert torch.equal(torch.rand(3), wanted)


def test_a_decoder_without_time_is_as_good_as_where_it_starts():
    link, auxiliary, victims = (
        PlantedLink(lambda p: p @ rotation()),
        planted.pictures(300),
        planted.pictures(20, seed=1),
    )
    decoder, session = Decoder(schedule=Schedule(steps=10_000, patience=10_000)), Session(link, SERVER, auxiliary)
    torch.manual_seed(0)
    decoder.fit(session.oracle(Budget(0.0)))
    cut = decoder.reconstruct(session.victims(victims)[1])
    start = rebuild(Ridge(), link, auxiliary, victims)
    assert decoder.history.cut and len(decoder.history.train) == 1
    assert float((cut - victims).square().mean()) <= 1.05 * float((start - victims).square().mean()) + 1e-5


def test_a_cut_run_has_every_attack_says_so_and_tells_where_the_time_went(victim, pictures, tmp_path):  # noqa: F811
    config = AttackConfig(
        policies=("none",),
        attacks=("standard",),
        victim=str(victim),
        data=str(pictures),
        images=4,
        auxiliary=60,
        budget=0.01,
    )
    run = attack(config, tmp_path / "run")
    assert {"ridge", "context", "decoder", "optimization"} <= set(run.attacks) == set(run.seconds.attack)
    assert (run.seconds[["fit", "reconstruct"]] >= 0).all(axis=None) and run.took("decoder") > 0
    flags = {flag.name: flag.found for flag in verdicts(run)[0].flags}
    assert "decoder" in flags["time budget cut"] and "part of the suite" not in flags


def test_descents_start_from_the_decoder_that_was_attacked_with(victim, pictures, tmp_path, monkeypatch):  # noqa: F811
    trained: list[str] = []
    for make in (attacks.decoder.Decoder, Optimization):
        monkeypatch.setattr(
            make, "QUICK", {"schedule": Schedule(steps=5)} if make is not Optimization else {"steps": 2}
        )
    monkeypatch.setattr(
        "attacks.decoder.train", lambda *given: trained.append(given[-2]) or attacks.training.train(*given)
    )
    names = ("decoder", "optimization")
    config = AttackConfig(
        policies=("none", "uniform-0.5"), attacks=names, victim=str(victim), data=str(pictures), images=4, auxiliary=60
    )
    run = attack(config, tmp_path / "run")
    assert set(names) <= set(run.attacks)
    assert trained == ["the decoder"] * 2, "once for each policy"


def test_the_command_of_a_run_without_a_limit_asks_for_none():
    """The command line has one unless told otherwise."""
    assert "--budget 0 " in AttackConfig(budget=None).command("out") and "--budget 5.0 " in AttackConfig(
        budget=5.0
    ).command("out")


def test_a_descent_ends_too(brief):
    torch.manual_seed(0)
    link, found = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3)), Optimization(steps=10_000)
    session = Session(link, SERVER, AUXILIARY, campaign=Campaign(quick=True))
    found.fit(session.oracle(Budget(0.0)))
    rebuilt = found.reconstruct(session.victims(VICTIMS[:2])[1])
    assert found.history.cut and rebuilt.shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    "threat",
    [name for name, threat in PRESETS.items() if ALIGNABLE[1] in threat.knows and ALIGNABLE[0] not in threat.knows],
)
def test_the_first_attack_that_places_tokens_has_the_time_for_it(threat, monkeypatch):
    """All that come later use what it found, so it may not be one whose own part of the budget is small."""

    def asked(self, oracle):
        raise InterruptedError

    monkeypatch.setattr(Alignment, "fit", asked)
    session = Session(system(), PRESETS[threat], AUXILIARY, campaign=Campaign(quick=True))
    known, names = available(), choose_attacks((), PRESETS[threat])[0]
    for name in names:
        try:
            session.fitted(known[name])
        except InterruptedError:
            break
    others = [known[other].share(session.threat) for other in names if other not in (name, "decoder", "optimization")]
    assert known[name].share(session.threat) > max(others)
