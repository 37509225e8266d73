"""A file in ``attacks/`` that somebody wrote or edited: it is found, and where it fails the error is one clear line."""

from __future__ import annotations

import sys

import pytest

import attacks
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
    assert run.attacks == [*attacks.BLIND, "ridge"] and not run.finished


def test_a_file_that_cannot_be_loaded_is_named_in_one_line(atm, victim, pictures, tmp_path, write):
    write("import nothing_of_that_name")
    code, _, err = atm(*ask(victim, pictures, tmp_path / "run"))
    assert code == 2 and "attacks.broken cannot be loaded: ModuleNotFoundError" in err
    assert len(err.strip().splitlines()) == 1 and not (tmp_path / "run").exists()
