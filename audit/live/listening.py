"""The listener's socket and files: every frame that is on the air, and a picture for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import zmq

from atm.errors import AtmError
from atm.header import HeaderError
from atm.store import write
from atm.store.files import storing
from atm.text import printable
from audit.live.drawing import png_of
from audit.live.ear import Ear, Rebuilt
from audit.live.protocol import MOST_BYTES, Frame, MessageError, Overheard, unpack
from audit.live.showing import finite
from audit.live.sockets import Address, Network

POLL = 200  # milliseconds
WAITING = 100  # frames that she has not got to yet; of those beyond she hears nothing
SCORES = "scores.jsonl"


class Pictures:
    """A folder with a PNG and a line of scores for each frame.

    Raises:
        AtmError: it is there and holds something.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with storing(folder):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise AtmError(f"{printable(folder)} is there and holds something; choose another --out")

    def add(self, rebuilt: Rebuilt) -> None:
        """Write one; the last one of a number counts."""
        with storing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        write(self._folder / f"{rebuilt.number:06d}.png", rebuilt.png())
        line = {"number": rebuilt.number, "snr_db": finite(rebuilt.snr_db), "ssim": rebuilt.score}
        with storing(self._folder / SCORES), open(self._folder / SCORES, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def listen_to(
    ears: Mapping[str, Ear],
    network: Network,
    air: Address,
    publish: Address | None,
    stop: Callable[[], bool],
    stop_after: int | None = None,
) -> Iterator[Rebuilt]:
    """Every frame on the air, rebuilt.

    Args:
        ears: who listens to the frames of each policy, by tag; others are not listened to.
        network: of this process.
        air: where frames are heard.
        publish: where others may have what she made of them; None tells nobody.
        stop: asked between frames.
        stop_after: so many frames.
    """
    socket = network.connect(zmq.SUB, air, MOST_BYTES, WAITING)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    out = None if publish is None else network.bind(zmq.PUB, publish, MOST_BYTES, WAITING)
    count = 0
    while not stop() and (stop_after is None or count < stop_after):
        if not socket.poll(POLL):
            continue
        try:
            frame = unpack(socket.recv(), Frame)
            if (ear := ears.get(frame.policy)) is None:
                continue
            rebuilt = ear.rebuild(frame)
        except (MessageError, HeaderError):  # no frame of this system
            continue
        count += 1
        if out is not None:
            out.send(message(rebuilt, ear.attack.name).pack(), zmq.NOBLOCK)
        yield rebuilt


def message(rebuilt: Rebuilt, attack: str) -> Overheard:
    """For whoever shows it."""
    return Overheard(
        number=rebuilt.number, attack=attack, png=png_of(rebuilt.image), score=rebuilt.score, snr_db=rebuilt.snr_db
    )
