"""How commands end: one line, the right code, and for our own bugs a file with the trace."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from atm.errors import AtmError, StorageError
from atm.store import BEGUN, RunStore
from audit.cli import gone_on_with
from audit.ending import ended


def raising(error: BaseException):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (AtmError("no such thing"), 2, "error: no such thing"),
        (StorageError("x cannot be written"), 3, "error: x cannot be written"),
        (typer.BadParameter("not a number"), 2, "not a number"),
        (OSError(errno.ENOSPC, "No space left on device", "/full/x"), 3, "/full/x: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied"), 3, "Permission denied"),
        (MemoryError(), 2, "out of memory"),
        (KeyboardInterrupt(), 130, "stopped; go on with: atm attack --resume"),
        (typer.Abort(), 130, "stopped; go on with: atm attack --resume"),
        (SystemExit(signal.SIGTERM), 143, "ended by SIGTERM; go on with: atm attack --resume"),
    ],
)
def test_every_end_has_its_code_and_its_line(capsys, error, code, said):
    assert ended(raising(error), [], lambda: "atm attack --resume") == code
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1


def test_a_clean_end_says_nothing(capsys):
    assert ended(lambda: None, []) == 0 and ended(lambda: 7, []) == 7
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_that_typer_turned_into_a_code_is_said(capsys):
    assert ended(lambda: 130, [], lambda: "atm attack --resume") == 130 and "--resume" in capsys.readouterr().err


def test_what_cannot_be_gone_on_with_says_only_that_it_was_stopped(capsys):
    assert ended(lambda: 130, []) == 130 and capsys.readouterr().err == "stopped\n"


def test_sigterm_is_said_and_has_a_code_of_its_own(capsys):
    before, closed = signal.getsignal(signal.SIGTERM), []

    def command():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            closed.append(True)

    assert ended(command, [], lambda: "atm attack --resume") == 143 and closed
    assert capsys.readouterr().err == "ended by SIGTERM; go on with: atm attack --resume\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("words", "again"),
    [
        ("attack --policy 'my policy.yaml' --out runs/a", "atm attack --policy 'my policy.yaml' --out runs/a --resume"),
        ("demo", "atm demo --resume"),
        ("search runs/a/search.json --resume", "atm search runs/a/search.json --resume"),
        ("train merging --steps 4", "atm train merging --steps 4 --resume"),
        ("train victim --data photos", ""),
        ("serve", ""),
        ("list attacks", ""),
        ("train", ""),
        ("", ""),
    ],
)
def test_a_command_is_gone_on_with_where_it_can(words, again):
    assert gone_on_with(shlex.split(words)) == again


def test_an_old_run_that_is_not_replaced_yet_is_not_gone_on_with(tmp_path):
    words = ["attack", "--force", "--out", str(tmp_path / "run")]
    with RunStore(tmp_path / "run", "attack", {}) as store:
        store.begin({"config": {"images": 3}})
    BEGUN.clear()  # which another process did
    with RunStore(tmp_path / "run", "attack", {}, force=True) as store:
        assert gone_on_with(words) == f"atm attack --force --out {tmp_path / 'run'}"
        store.begin({"config": {"images": 4}})
        assert gone_on_with(words) == f"atm attack --out {tmp_path / 'run'} --resume"


def test_a_bug_is_one_line_and_a_file_with_the_trace(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ended(raising(KeyError("lost")), ["attack", "--seed", "1"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and "please report" in said
    log = Path(re.search(r"with (\S+\.log)", said)[1]).read_text()
    assert "KeyError: 'lost'" in log and "Traceback" in log and "--seed" in log
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert ended(raising(KeyError("lost")), []) == 1 and "--debug" in capsys.readouterr().err


def test_debug_lets_the_trace_through():
    with pytest.raises(KeyError):
        ended(raising(KeyError("lost")), ["attack", "--debug"])


@given(st.text())
def test_no_control_character_of_an_error_reaches_the_terminal(text):
    from rich.console import Console

    import audit.ending

    told = Console(highlight=False, force_terminal=False, width=10_000)
    with pytest.MonkeyPatch.context() as patch, told.capture() as caught:
        patch.setattr(audit.ending, "console", told)
        ended(raising(AtmError(text)), [])
    assert caught.get().removesuffix("\n").isprintable()
