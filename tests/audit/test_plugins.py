"""A file in ``attacks/`` that somebody wrote or edited: it is found, and where it is broken it is named and skipped."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

import attacks
from atm import plugins
from reports.run import Run
from tests.audit.test_cli import ask

BROKEN = '''
from attacks.mean_image import MeanImage


class Broken(MeanImage):
    """Fails."""

    name = "broken"
    blind = False

    def {method}(self, given):
        raise ValueError("no such thing\\n  as a free lunch")
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    """``write(text)`` puts a module ``broken`` among the attacks."""
    monkeypatch.setattr(plugins, "_skipped", {})
    monkeypatch.setattr(attacks, "__path__", [*attacks.__path__, str(tmp_path / "more")])
    (tmp_path / "more").mkdir()
    yield lambda text: (tmp_path / "more/broken.py").write_text(text)
    sys.modules.pop("attacks.broken", None)
    vars(attacks).pop("broken", None)


@pytest.mark.parametrize("method", ["fit", "reconstruct"])
def test_an_attack_that_raises_is_one_line_and_what_came_before_it_is_kept(
    atm, victim, pictures, tmp_path, write, method
):
    write(BROKEN.format(method=method))
    code, out, err = atm(*ask(victim, pictures, tmp_path / "run"), "--attack", "broken")
    assert code == 2 and out == "" and len(err.strip().splitlines()) == 1
    assert "attack 'broken' failed on policy 'none': ValueError: no such thing as a free lunch" in err
    run = Run.read(tmp_path / "run")
    assert run.attacks == [*attacks.BASELINES["image"].blind, "ridge"] and not run.finished


def test_a_file_that_cannot_be_loaded_is_named_once_and_skipped(atm, victim, pictures, tmp_path, write, caplog):
    write("import nothing_of_that_name")
    code, out, _ = atm(*ask(victim, pictures, tmp_path / "run"))
    assert code == 0 and "attacks.broken cannot be loaded" in out
    said = [record.getMessage() for record in caplog.records if record.name == "atm.plugins"]
    assert len(said) == 1 and said[0].startswith("skipped: attacks.broken cannot be loaded: ModuleNotFoundError")
    assert any("attacks.broken cannot be loaded" in note for note in Run.read(tmp_path / "run").about["notes"])


def test_an_attack_that_was_skipped_cannot_be_asked_for(atm, victim, pictures, tmp_path, write):
    write("raise SystemExit(0)")
    code, _, err = atm(*ask(victim, pictures, tmp_path / "run"), "--attack", "broken")
    assert code == 2 and "unknown attack 'broken'" in err and not (tmp_path / "run").exists()


class Stranger:
    """No attack at all."""


class Lacking(attacks.Attack):
    """Says nothing of reconstruct."""

    name = "lacking"

    def fit(self, oracle):
        """Nothing."""


class Twin(Lacking):
    """Has a name that is taken."""

    name = "ridge"

    def reconstruct(self, seen):
        """Nothing."""


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("nothing_of_that_name:Attack", "cannot be loaded: ModuleNotFoundError"),
        (f"{__name__}:Nobody", "cannot be loaded: AttributeError"),
        (f"{__name__}:Stranger", "is no subclass of attacks.base.Attack"),
        (f"{__name__}:Lacking", "lacks reconstruct()"),
        (f"{__name__}:Twin", "'ridge' is the name of another one"),
    ],
)
def test_a_broken_package_is_named_and_our_own_attacks_are_there(monkeypatch, caplog, value, why):
    point = EntryPoint("odd", value, "atm.attacks")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    monkeypatch.setattr(plugins, "_skipped", {})
    found = attacks.available()
    assert found["ridge"].__module__ == "attacks.ridge" and not {"odd", "lacking"} & found.keys()
    attacks.available()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "entry point 'odd'" in said[0] and why in said[0]
    assert plugins.skipped("atm.attacks") and not plugins.skipped("atm.defenses")
