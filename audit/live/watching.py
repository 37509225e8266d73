"""What the live page is told: of every frame by the device, and of what a listener made of it."""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
import zmq
from PIL import Image
from torch import Tensor

from atm.tokens import NOWHERE
from audit.live.choosing import Choice
from audit.live.device import Answered
from audit.live.drawing import merged, png_of
from audit.live.page_server import Page
from audit.live.protocol import MOST_BYTES, MessageError, Overheard, unpack
from audit.live.showing import finite, row_of, say_line
from audit.live.sockets import SUB, Address, Network
from audit.live.system import Live, LiveConfig
from privacy_metrics.similarity import ssim

KEPT = 64  # pictures that a listener may still be working on
POLL = 200  # milliseconds


class Watch:
    """Tells a page of frames, answers and listeners.

    Args:
        page: the page, whose watchers may pick a policy.
        live: the system.
        choice: of the policies.
        words: about it, for the head of the page.
    """

    def __init__(self, page: Page, live: Live, choice: Choice, words: str) -> None:
        self._page, self._live, self._choice = page, live, choice
        self._kept: OrderedDict[int, Tensor] = OrderedDict()
        self._early: Overheard | None = None  # of a frame whose answer is not there yet
        self._lock = threading.Lock()
        page.show("about", {"words": words})
        self._show_choice()
        page.listen(self._picked)

    def _picked(self, policy: str) -> None:
        self._choice.pick(policy)
        self._show_choice()  # as it is, whatever was picked

    def _show_choice(self) -> None:
        self._page.show("choice", {"policies": self._choice.names, "picked": self._choice.picked})

    def frame(self, each: Answered, answered: int, lost: int, dropped: int) -> None:
        """A frame with its answer, and how many there were."""
        shot, tokens = each.sending.shot, each.sending.tokens
        with self._lock:
            self._kept[shot.number] = shot.image
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            early, self._early = self._early, None
        grid = self._live.link.encoder.patch_grid
        source = torch.full((grid[0] * grid[1],), NOWHERE) if tokens.source is None else tokens.source[0]
        self._page.show(
            "frame",
            {
                **row_of(self._live, each),
                "original": _text(png_of(shot.image)),
                "merged": _text(png_of(merged(shot.image, source, grid))),
                "patches": grid[0] * grid[1],
                "answered": answered,
                "lost": lost,
                "dropped": dropped,
            },
        )
        if early is not None:
            self.overheard(early)

    def overheard(self, told: Overheard) -> None:
        """What a listener made of a frame; scored here, where the picture is."""
        with self._lock:
            original = self._kept.get(told.number)
            if original is None and (not self._kept or told.number > next(reversed(self._kept))):
                self._early = told
                return
        rebuilt = _picture(told.png)
        score = told.score
        if original is not None and rebuilt is not None and rebuilt.shape == original.shape:
            score = float(ssim(rebuilt[None], original[None].cpu())[0])
        if rebuilt is not None:
            heard = {"number": told.number, "attack": told.attack, "snr_db": finite(told.snr_db), "score": score}
            self._page.show("heard", {**heard, "rebuilt": _text(png_of(rebuilt))})


def watched(port: int, live: Live, choice: Choice, config: LiveConfig) -> Watch:
    """A page on a port of this machine, and where it is.

    Raises:
        AtmError: the port is taken.
    """
    page = Page(port)
    say_line(f"the live page is at {page.address}")
    defended = f", defence {config.defense}" if config.defense else ""
    codec = live.link.codec.name
    policies = f"polic{'ies' if len(live.modes) > 1 else 'y'} {', '.join(mode.name for mode in live.modes)}"
    words = f"{config.victim}, {policies}{defended}, codec {codec}, made for {config.channel}"
    return Watch(page, live, choice, words)


@contextmanager
def overhearing(watch: Watch | None, network: Network, where: Address | None) -> Iterator[None]:
    """Within it, a page is told of what a listener publishes; nothing is done without either."""
    if watch is None or where is None:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_overhear, args=(watch, network, where, done.is_set), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _overhear(watch: Watch, network: Network, where: Address, stop: Callable[[], bool]) -> None:
    socket = network.connect(SUB, where, MOST_BYTES)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    while not stop():
        if socket.poll(POLL):
            with suppress(MessageError):
                watch.overheard(unpack(socket.recv(), Overheard))
    socket.close()


def _text(png: bytes) -> str:
    return base64.b64encode(png).decode()


def _picture(png: bytes) -> Tensor | None:
    """``[C, H, W]`` in [0, 1] of a foreign PNG of at most a million pixels, or None."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.width * image.height > 2**20 or image.mode not in ("RGB", "L"):
                return None
            pixels = torch.from_numpy(np.array(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)).float() / 255
