"""The attack without weights: never behind ridge on what may be sent, and helped by what may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from atm.threat import PRESETS, Knowledge, ThreatModel
from attacks import base
from attacks.ridge import Ridge
from attacks.session import Session
from attacks.shadow import Shadow
from audit.suite import choose_attacks
from tests.attacks.planted import PlantedLink, pictures, rotation

OWN = pictures(400)


def error(attack, sent: int) -> float:
    link, threat = PlantedLink(lambda p: p @ rotation()), replace(PRESETS["black-box"], queries=sent)
    session = Session(link, threat, OWN[:sent], unsent=OWN[sent:] if sent < len(OWN) else None)
    torch.manual_seed(0)
    attack.fit(session.oracle())
    victims = pictures(20, seed=1)
    rebuilt = attack.reconstruct(session.victims(victims)[1])
    assert rebuilt.shape == victims.shape and float(rebuilt.min()) >= 0 and float(rebuilt.max()) <= 1
    return float((rebuilt - victims).square().mean())


@pytest.mark.parametrize("sent", [40, 400])
def test_it_undoes_a_rotation_and_is_not_behind_ridge(sent: int) -> None:
    assert error(base.made(Shadow, quick=True), sent) < 1.1 * error(Ridge(), sent) + 1e-4 < 0.05


def test_whoever_has_the_weights_needs_no_stand_in() -> None:
    assert "shadow" not in choose_attacks(("all",), ThreatModel("server"))[0]
    assert "shadow" in choose_attacks(("all",), PRESETS["black-box"])[0]
    assert "shadow" in choose_attacks(("shadow",), ThreatModel("server").with_knowledge(Knowledge.WEIGHTS))[0]
