"""Where frames come from: the pictures of the description, a file, folder or tar, or a camera."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atm.data import load
from atm.data.folders import natural
from atm.data.pictures import SUFFIXES, UnusableError, decode, fit, grey
from atm.errors import AtmError, one_line
from atm.signals import Signal, arrays
from atm.text import printable
from audit.adversary import samples
from audit.live.system import LiveConfig
from privacy_metrics.extras import installing

CAMERA = "camera"


@dataclass(frozen=True)
class Shot:
    """One picture, its number counted from 0, and the seconds that it took to get it."""

    number: int
    image: Tensor
    seconds: float


Source = Callable[[int], Tensor | None]  # from a number to a picture [C, H, W] in [0, 1], or None behind the last one


class Stills:
    """Pictures that are there already, as often as wanted.

    Args:
        images: ``[N, C, H, W]``, read by rows.
        passes: how often each is sent; 0 is without end.
    """

    def __init__(self, images: Any, passes: int = 1) -> None:
        self.images, self.passes = images, passes

    def __call__(self, number: int) -> Tensor | None:
        """The picture of some number."""
        if self.passes and number >= self.passes * len(self.images):
            return None
        image: Tensor = self.images[number % len(self.images)]
        return image


class Files:
    """Picture files, each read when its turn comes.

    Args:
        paths: in their order.
        shape: channels, height and width that they are cropped and resized to.
        passes: how often each is sent; 0 is without end.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, int, int], passes: int = 1) -> None:
        self._paths, self._shape, self._passes = paths, shape, passes

    def __call__(self, number: int) -> Tensor | None:
        """The picture of some number.

        Raises:
            AtmError: its file is no usable picture.
        """
        if self._passes and number >= self._passes * len(self._paths):
            return None
        path = self._paths[number % len(self._paths)]
        try:
            pixels, _ = decode(path.read_bytes(), (self._shape[1], self._shape[2]), self._shape[0])
        except (OSError, UnusableError) as error:
            raise AtmError(f"frame {printable(path)} cannot be used: {one_line(error)}") from None
        return torch.from_numpy(pixels).float() / 255


def picture_files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder without folders in natural order; pictures alone, so it may be none."""
    try:
        found = [path] if path.is_file() else sorted(path.iterdir(), key=lambda each: natural(each.name))
        if any(each.is_dir() for each in found if not each.name.startswith(".")):
            return []
        return [each for each in found if each.suffix.lower() in SUFFIXES and each.is_file()]
    except (OSError, ValueError):
        return []


class Camera:
    """What a camera sees, cropped and resized as pictures are.

    Raises:
        AtmError: OpenCV is missing, or there is no such camera.
    """

    def __init__(self, number: int, shape: tuple[int, int, int]) -> None:
        try:
            import cv2
        except ImportError:
            raise AtmError(f"a camera needs OpenCV; do: {installing('opencv-python-headless')}") from None
        self._camera, self._shape = cv2.VideoCapture(number), shape
        if not self._camera.isOpened():
            raise AtmError(f"camera {number} cannot be opened; is it there, and used by nobody else?")

    def __call__(self, number: int) -> Tensor | None:
        """What it sees now."""
        there, picture = self._camera.read()
        return camera_picture(picture, self._shape) if there else None


def camera_picture(picture: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    """What OpenCV gives, ``[h, w, 3]`` of bytes in the order blue, green, red, as ``[C, H, W]`` in [0, 1]."""
    upright = torch.from_numpy(np.ascontiguousarray(picture[:, :, ::-1])).permute(2, 0, 1)[None]
    return grey(fit(upright, shape[1:]), shape[0])[0].float() / 255


def source_of(frames: str | None, config: LiveConfig, signal: Signal, passes: int) -> Source:
    """Where a device's frames come from.

    Args:
        frames: ``camera`` or ``camera:1``, a picture or a folder of them, or what `atm.data.load` takes; None takes the
            pictures that ``atm attack`` would attack with the same description.
        config: the description.
        signal: the pictures that the victim takes.
        passes: over pictures that end; 0 is without end.

    Raises:
        AtmError: there are no such frames.
    """
    if passes < 0:
        raise AtmError(f"--passes {passes} is below 0; 0 sends the pictures without end")
    if frames is None:
        return Stills(samples(config, signal).victims.images, passes)
    shape = arrays(signal).shape
    kind, _, number = frames.partition(":")
    if kind == CAMERA:
        if number and not (number.isdecimal() and len(number) < 4):
            raise AtmError(f"--frames {frames!r}: write camera or camera:1")
        return Camera(int(number or 0), shape)
    if frames.strip() and (files := picture_files(Path(frames))):
        return Files(files, shape, passes)
    return Stills(load(frames, "test", size=shape[1:], channels=shape[0]).images, passes)


def shots(source: Source) -> Iterator[Shot]:
    """Every picture, as soon as it is asked for."""
    for number in itertools.count():
        began = time.perf_counter()
        image = source(number)
        if image is None:
            return
        yield Shot(number, image, time.perf_counter() - began)


class Newest:
    """Pictures at a pace of their own, of which only the newest waits: one that nobody took in time is dropped.

    Args:
        source: of the pictures.
        fps: a second.

    Attributes:
        dropped: pictures that nobody took.
    """

    def __init__(self, source: Source, fps: float) -> None:
        self.dropped = 0
        self._ready, self._slot = threading.Condition(), list[Shot]()
        self._ended, self._error = False, list[BaseException]()
        self._thread = threading.Thread(target=self._shoot, args=(source, 1 / fps), daemon=True)

    def __iter__(self) -> Iterator[Shot]:
        self._thread.start()
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._slot or self._ended)
                if not self._slot:
                    break
                shot = self._slot.pop()
            yield shot
        if self._error:
            raise self._error[0]

    def _shoot(self, source: Source, pause: float) -> None:
        due = time.monotonic()
        try:
            for shot in shots(source):
                with self._ready:
                    self.dropped += len(self._slot)
                    self._slot = [shot]
                    self._ready.notify()
                due = max(due + pause, time.monotonic() - pause)
                time.sleep(max(due - time.monotonic(), 0))
        except BaseException as error:
            self._error.append(error)
        finally:
            with self._ready:
                self._ended = True
                self._ready.notify()
