"""A policy is changed between frames by hand or by SNR; answers are those of the policy that the frame names."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
import zmq

from atm.errors import AtmError
from atm.seeds import seed_of
from audit.live.choosing import BY_SNR, Choice
from audit.live.controller import Candidate, Controller
from audit.live.device import Answered, Uplink, encode, stream
from audit.live.measured import candidates
from audit.live.protocol import Answer, Refused
from audit.live.relay import Air, Schedule, schedule_of
from audit.live.server import Server
from audit.live.showing import row_of, show_answer
from audit.live.sockets import network
from audit.live.system import LiveConfig, resolve
from audit.sweep import SweepConfig, sweep
from privacy_metrics.leakage import RECOGNISABLE_SSIM
from privacy_metrics.statistics import bootstrap_mean
from reports.sweep import Sweep
from tests.audit.live.systems import free_port, hello, joined, on_air, served, several, shot

SNR = (0.0, 20.0)


def controller(names: list[str], floor: float = 0.5) -> Controller:
    leaky, good, rough = names
    measured = [
        Candidate(leaky, SNR, (0.99, 0.99), 900, 0.9),
        Candidate(good, SNR, (0.2, 0.9), 500, 0.4),
        Candidate(rough, SNR, (0.6, 0.6), 100, 0.2),
    ]
    return Controller(measured, floor, margin=0.02, patience=2)


def test_the_first_policy_is_kept_until_another_is_picked():
    modes = several().modes
    choice = Choice(modes)
    names = [mode.name for mode in modes]
    assert choice.names == names and choice.next() is modes[0]
    choice.heard(-40.0)
    assert choice.next() is modes[0]
    assert choice.pick(names[2]) and choice.next() is modes[2] and choice.picked == names[2]
    for foreign in ("", "moderate", BY_SNR, names[1].upper(), names[1] + "\0"):
        assert not choice.pick(foreign) and choice.next() is modes[2]


def test_by_snr_it_follows_the_controller_and_the_floor_holds_for_hands_too():
    modes = several().modes
    leaky, good, rough = names = [mode.name for mode in modes]
    said = list[str]()
    choice = Choice(modes, controller(names), say=said.append)
    assert choice.names == [BY_SNR, good, rough]
    assert choice.next().name == rough, "what leaks least while nothing is measured"
    choice.heard(20.0)
    assert choice.next().name == good
    for snr in (math.nan, math.nan, math.nan):
        choice.heard(snr)
    assert choice.next().name == good
    found = []
    for snr in itertools.repeat(-300.0, 8):
        choice.heard(snr)
        found.append(choice.next().name)
    assert found[0] == good and found[-1] == rough and found == sorted(found, key=[good, rough].index), "in the end"
    for _ in range(40):
        choice.heard(20.0)
    assert choice.next().name == good and choice.pick(good) and not said
    for _ in range(2):
        choice.heard(math.inf)
        assert choice.next().name == rough, "in better air than was measured the floor holds for hands too"
    assert len(said) == 1 and "more than was measured" in said[0] and rough in said[0]
    choice.heard(20.0)
    assert choice.next().name == good, "what was picked, in air that was measured"
    assert not choice.pick(leaky) and choice.pick(rough) and choice.next().name == rough
    choice.heard(20.0)
    assert choice.next().name == rough and choice.pick(BY_SNR) and choice.next().name == good


def test_room_decides_before_accuracy_and_what_cannot_be_is_refused():
    modes = several().modes
    names = [mode.name for mode in modes]
    choice = Choice(modes, controller(names), room=300)
    choice.heard(20.0)
    assert choice.next().name == names[2]
    for room in (0, -1, math.nan):
        with pytest.raises(AtmError, match="--room"):
            Choice(modes, controller(names), room)
    with pytest.raises(AtmError, match="unknown policy"):
        Choice(modes[:1], controller(names))


@pytest.mark.parametrize("codec", ["uncoded", "learned"])
def test_answers_are_those_of_each_frames_policy_bit_for_bit_while_it_changes(codec):
    here, front, back = several(codec), free_port(), free_port()
    names = [mode.name for mode in here.modes]
    wanted = {mode.name: mode for mode in here.modes}
    choice = Choice(here.modes)
    with (
        network(None) as net,
        served(net, Server(here), back),
        on_air(net, Air(schedule_of("awgn:10", None), seed=1), front, back),
    ):
        uplink = Uplink(net.connect(zmq.DEALER, front, here.most_bytes), here, 5, 60)
        used = []
        for each in stream(choice, uplink, map(shot, range(7)), seed=0, again=True):
            number, mode = each.sending.shot.number, each.sending.mode
            used.append(mode.name)
            sent = wanted[mode.name].link.transmit(shot(number).image[None], seed=seed_of("channel", 1, number))
            assert each.logits is not None and torch.equal(each.logits, sent.logits[0])
            bits = each.sending.bits + 2  # which of three policies
            assert each.answer.symbols == sent.sent.counts[0] * sent.on_air.shape[1] + math.ceil(bits / (2 / 3))
            choice.pick(names[(number + 1) % 3])
        assert used == [names[number % 3] for number in range(7)]


def test_by_the_snr_that_the_server_tells_a_stream_changes_when_the_weather_does():
    from atm.channels import parse

    here, front, back = several(), free_port(), free_port()
    names = [mode.name for mode in here.modes]
    weather = Air(Schedule(((0, parse("awgn:20")), (4, parse("awgn:-10")))), seed=1)
    with network(None) as net, served(net, Server(here), back), on_air(net, weather, front, back):
        uplink = Uplink(net.connect(zmq.DEALER, front, here.most_bytes), here, 5, 60)
        choice = Choice(here.modes, controller(names))
        used = [e.sending.mode.name for e in stream(choice, uplink, map(shot, range(16)), seed=0, again=True)]
    assert used[0] == names[2] and used[1:6] == [names[1]] * 5 and used[-1] == names[2]
    assert sum(a != b for a, b in itertools.pairwise(used)) == 2 and names[0] not in used


def test_a_policy_that_was_not_named_at_the_start_is_refused_in_one_line():
    here = several()
    few = replace(here, modes=here.modes[:2])
    server = Server(here)
    session = server.reply(hello(few).pack()).session
    for number, mode in enumerate(here.modes):
        reply = server.reply(encode(mode, shot(number), 0).frame(session).pack())
        if mode in few.modes:
            assert isinstance(reply, Answer)
        else:
            assert isinstance(reply, Refused) and reply.reason == "policy" and reply.number == number
            assert mode.tag in reply.words and "said hello" in reply.words and reply.words.isprintable()
    good = encode(here.modes[0], shot(5), 0).frame(session)
    for foreign in ("f" * 16, "0" * 16):
        assert server.reply(good.model_copy(update={"policy": foreign}).pack()).reason == "policy"
    for malformed in ("", "f" * 15, "F" * 16, "f" * 16 + "\n", "é" * 16, "f" * 5000):
        assert server.reply(good.model_copy(update={"policy": malformed}).pack()).reason == "frame"
    assert isinstance(server.reply(good.pack()), Answer), "none of them took its number"


def test_a_frame_under_anothers_tag_is_an_answer_or_a_line():
    here = several()
    server = Server(here)
    session = joined(server)
    for number, (made, told) in enumerate(itertools.permutations(here.modes, 2)):
        frame = encode(made, shot(number), 0).frame(session).model_copy(update={"policy": told.tag})
        assert isinstance(server.reply(frame.pack()), Answer | Refused)


def test_a_device_with_a_policy_that_the_server_lacks_is_told_so_at_hello():
    here = several()
    few = Server(replace(here, modes=here.modes[:2]))
    refused = few.reply(hello(here).pack())
    lacking = here.modes[2].agreement["policy"][:12]
    assert refused.reason == "system" and f"it has no policy {lacking}" in refused.words
    assert few.reply(hello(replace(here, modes=here.modes[1:2])).pack()).kind == "welcome"


@pytest.fixture(scope="module")
def swept(victim, pictures, tmp_path_factory):
    config = SweepConfig(
        victim=str(victim), data=str(pictures), policies=("none", "uniform-0.5"), codecs=("uncoded",), snr=(0.0, 20.0),
        images=12, auxiliary=30, device="cpu",
    )  # fmt: skip
    out = tmp_path_factory.mktemp("sweep") / "run"
    sweep(config, out)
    return config, out


def described(config: SweepConfig, **changes) -> LiveConfig:
    return LiveConfig(
        **{"victim": config.victim, "data": config.data, "policies": config.policies, "codec": "uncoded",
           "device": "cpu", **changes}
    )  # fmt: skip


def test_candidates_are_what_a_sweep_has_measured(swept):
    config, out = swept
    live = resolve(described(config), sends=True)
    points = [json.loads(line) for line in (out / "points.jsonl").read_text().splitlines()]
    for each in candidates(str(out), live):
        own = [point for point in points if point["policy"] == each.name]
        assert each.snr_db == (0.0, 20.0)
        assert each.accuracy == tuple(sum(point["correct"]) / 12 for point in own)
        assert each.symbols == pytest.approx(sum(sum(point["symbols"]) for point in own) / 24)
        leaked = [point["server"] for point in own] + [tap["leakage"] for point in own for tap in point["eavesdropper"]]
        assert each.leakage == max(bootstrap_mean(scores).high for scores in leaked)
    Choice(live.modes, Controller(candidates(str(out), live), 1.0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policies": ("none", "uniform-0.4")}, "has not measured policy 'uniform-0.4'"),
        ({"defense": "gaussian:0.1"}, "measured defence none"),
        ({"codec": "digital:5"}, "other codecs"),
        ({"channel": "rayleigh:10"}, "is over awgn, and this link over rayleigh:10"),
        ({"channel": "noiseless"}, "is over awgn, and this link over noiseless"),
    ],
)
def test_a_sweep_of_something_else_is_refused(swept, changes, words):
    config, out = swept
    if changes.get("codec"):
        pytest.importorskip("sionna")
    with pytest.raises(AtmError, match=words):
        candidates(str(out), resolve(described(config, **changes), sends=False))


def test_what_is_no_sweep_over_one_channel_is_refused(swept, tmp_path, monkeypatch):
    config, out = swept
    live = resolve(described(config), sends=False)
    other = replace(live, agreement={**live.agreement, "victim": "0" * 64})
    with pytest.raises(AtmError, match="which is not this link's"):
        candidates(str(out), other)
    with pytest.raises(AtmError):
        candidates(str(tmp_path), live)
    read = Sweep.read(out)
    two = replace(read, points=[*read.points, {**read.points[0], "channel": "rayleigh"}])
    monkeypatch.setattr(Sweep, "read", lambda folder: two)
    with pytest.raises(AtmError, match="over 2 channels"):
        candidates(str(out), live)


def test_a_sweep_that_was_stopped_half_way_is_refused(swept, monkeypatch):
    config, out = swept
    live, read = resolve(described(config), sends=False), Sweep.read(out)
    half = replace(read, points=[point for point in read.points if (point["policy"], point["snr"]) != ("none", 20.0)])
    monkeypatch.setattr(Sweep, "read", lambda folder: half)
    with pytest.raises(AtmError, match="has not measured policy 'none' at 20 dB yet") as caught:
        candidates(str(out), live)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attacks", [[], ["mean_image"]])
def test_a_sweep_without_an_attack_on_tokens_is_refused(swept, monkeypatch, attacks):
    config, out = swept
    live, read = resolve(described(config), sends=False), Sweep.read(out)
    monkeypatch.setattr(Sweep, "read", lambda folder: replace(read, about={**read.about, "attacks": attacks}))
    with pytest.raises(AtmError, match="measured no leakage"):
        candidates(str(out), live)


def test_the_kind_of_channel_is_compared_and_not_its_snr(swept, monkeypatch):
    config, out = swept
    read = Sweep.read(out)
    rician = replace(read, points=[{**point, "channel": "rician,csi=yes,k=5"} for point in read.points])
    monkeypatch.setattr(Sweep, "read", lambda folder: rician)
    assert candidates(str(out), resolve(described(config, channel="rician:3,k=5"), sends=False))
    with pytest.raises(AtmError, match="kind of channel"):
        candidates(str(out), resolve(described(config, channel="rician:3,k=4"), sends=False))


def test_floor_and_room_want_a_sweep_and_the_floor_is_that_of_recognition_by_default(atm, swept, monkeypatch):
    for words in (("--floor", 0.4), ("--room", 2000)):
        code, _, err = atm("device", *words)
        assert code == 2 and "--adapt" in err and err.count("\n") == 1
    config, out = swept

    def stop(measured, floor):
        raise AtmError(f"the floor is {floor:g}")

    monkeypatch.setattr("audit.live.controller.Controller", stop)
    same = ("device", "--victim", config.victim, "--data", config.data, "--codec", "uncoded", "--policy", "none",
            "--policy", "uniform-0.5", "--device", "cpu", "--adapt", out)  # fmt: skip
    for words, floor in (((), RECOGNISABLE_SSIM), (("--floor", 1), 1), (("--floor", 0), 0)):
        assert f"the floor is {floor:g}" in atm(*same, *words)[2]


def test_what_is_shown_of_a_frame_names_its_policy(capsys):
    here = several()
    server = Server(here)
    sending = encode(here.modes[1], shot(0), 0)
    answered = Answered(sending, server.reply(sending.frame(joined(server)).pack()), seconds=sending.seconds)
    assert row_of(here, answered)["policy"] == here.modes[1].name
    show_answer(here, answered, as_json=True)
    assert json.loads(capsys.readouterr().out)["policy"] == here.modes[1].name
    show_answer(here, answered, as_json=False)
    assert here.modes[1].name in capsys.readouterr().out
    one = several()
    show_answer(replace(one, modes=one.modes[1:2]), answered, as_json=False)
    assert here.modes[1].name not in capsys.readouterr().out, "where there is one it is no news"
