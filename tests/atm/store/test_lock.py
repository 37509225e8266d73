"""One writer per folder, and nobody who has died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atm.errors import AtmError
from atm.store import RunStore
from atm.store.lock import LOCK, Lock

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from atm.store import RunStore
store = RunStore(sys.argv[1], "attack", {"seed": 0})
store.begin({"config": {"seed": 0}})
print("holding", flush=True)
time.sleep(600)
"""


def test_the_second_writer_is_refused_and_the_first_goes_on(tmp_path):
    with RunStore(tmp_path / "run", "attack", {}) as store:
        for options in ({}, {"resume": True}, {"force": True}):
            with pytest.raises(AtmError, match="is being written by another process"):
                RunStore(tmp_path / "run", "attack", {}, **options)
        store.begin({"config": {}})
        store.append("steps.jsonl", {"n": 1})
    with RunStore(tmp_path / "run", "attack", {}, resume=True) as store:
        assert store.records("steps.jsonl") == [{"n": 1}]
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_killed_process_blocks_nobody(tmp_path):
    folder = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "holding\n"
    with pytest.raises(AtmError, match="another process"):
        RunStore(folder, "attack", {"seed": 0}, resume=True)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert (folder / LOCK).exists()
    RunStore(folder, "attack", {"seed": 0}, resume=True).close()
    assert not (folder / LOCK).exists()


def test_a_store_that_nobody_holds_any_more_lets_go(tmp_path):
    store = RunStore(tmp_path / "run", "attack", {})
    del store
    assert not (tmp_path / "run").exists(), "and removes the folder that it made for nothing"


def test_folders_that_were_made_for_nothing_go_and_others_stay(tmp_path):
    (tmp_path / "mine").mkdir()
    RunStore(tmp_path / "mine" / "a" / "b", "attack", {}).close()
    assert not list((tmp_path / "mine").iterdir())
    RunStore(tmp_path / "mine", "attack", {}).close()
    assert (tmp_path / "mine").exists()


def test_a_lock_whose_file_was_removed_is_no_lock(tmp_path):
    first = Lock(tmp_path)
    (tmp_path / LOCK).unlink()  # as the one who held it before does, after another has opened it
    second = Lock(tmp_path)
    with pytest.raises(AtmError):
        Lock(tmp_path)
    second.release()
    first.release()


def test_a_forked_child_that_ends_leaves_the_lock(tmp_path):
    lock = Lock(tmp_path)
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(AtmError, match="another process"):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()
