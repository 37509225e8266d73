"""Server, channel and device as three processes: the answers of one process, through a kill of the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import torch

from atm.seeds import seed_of
from audit.live import keys
from audit.live.system import LiveConfig, resolve
from audit.setting import samples
from tests.audit.live.systems import free_port
from tests.conftest import SHARED

ROOT = Path(__file__).parents[3]
CIFAR = SHARED / "data/cifar10_test.tar"
FRAMES = 12


@contextmanager
def process(*words: object) -> Iterator[subprocess.Popen[str]]:
    """``atm WORDS`` until the end of the block."""
    started = subprocess.Popen(
        [sys.executable, "-m", "atm", *map(str, words)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def said(stream: IO[str], word: str) -> None:
    """Wait until a process says a word, and read on what else it says, so that its pipe never fills."""
    lines = []
    for line in stream:
        lines.append(line)
        if word in line:
            threading.Thread(target=stream.read, daemon=True).start()
            return
    raise AssertionError(f"it never said {word!r}: {''.join(lines)}")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # of a busy machine
def test_streamed_answers_are_those_of_one_process_through_kills_of_the_server(tmp_path):
    there = CIFAR.exists()  # else what the project ships
    config = LiveConfig(
        victim="vit_cifar10" if there else "vit_photos", data=str(CIFAR) if there else "photos",
        images=FRAMES, auxiliary=20, device="cpu", seed=3,
    )  # fmt: skip
    system = ["--victim", config.victim, "--device", "cpu"]
    device = [*system, "--data", config.data, "--images", FRAMES, "--auxiliary", 20, "--seed", 3]
    keys.write(tmp_path / "link.key")
    key = ["--key", tmp_path / "link.key"]
    back, front = free_port(), free_port()
    with (
        process("channel", "--listen", front, "--connect", back, "--channel", "awgn:10", "--seed", 9, *key) as channel,
        process("serve", "--listen", back, *system, *key) as first,
        process("device", "--connect", front, "--timeout", 2, "--patience", 600, "--json", *device, *key) as sends,
    ):
        assert channel.stderr and first.stderr and sends.stdout and sends.stderr
        said(channel.stderr, "on the air")
        said(first.stderr, "serving")
        threading.Thread(target=sends.stderr.read, daemon=True).start()
        rows = [json.loads(sends.stdout.readline()) for _ in range(FRAMES // 2)]
        first.kill()
        with process("serve", "--listen", back, *system, *key) as second:
            rows += [json.loads(line) for line in sends.stdout]
            assert sends.wait() == 0
            second.terminate()
            _, words = second.communicate()
            assert second.returncode == 0 and "frames answered, " in words and "Traceback" not in words
    live = resolve(config, sends=True)
    images = samples(config, live.link.signal).victims.images
    torch.set_num_threads(1)
    assert [row["number"] for row in rows] == list(range(FRAMES)), "each one once, none lost"
    for row in rows:
        number = row["number"]
        sent = live.link.transmit(images[number : number + 1], seed=seed_of("channel", 9, number))
        assert torch.equal(torch.tensor(row["logits"]), sent.logits[0])
        assert row["symbols"] == sent.symbols[0] and row["tokens"] == sent.sent.counts[0]
        assert row["snr_db"] == 10
