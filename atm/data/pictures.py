"""One picture file to pixels: upright, on white, eight bits a channel, one size; or the reason why not."""

from __future__ import annotations

import io
import warnings
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from atm.text import printable

# Pillow knows more, among them EPS, which it hands to Ghostscript whatever the file is called.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .bmp .dib .gif .tif .tiff .pgm .ppm .pbm .pnm".split()  # noqa: SIM905
)
LEAST_SIDE = 8  # pixels; a smaller file is an icon or a spacer, and would be blown up
MOST_ELONGATED = 10  # long side over short side; of a longer one a crop shows nearly nothing

MOST_PIXELS = 80_000_000  # a few kilobytes can claim to be more; Pillow warns of them from 89 million on
TOO_LARGE = f"more than {MOST_PIXELS // 10**6} million pixels"

TRANSPARENT = "were transparent and laid over white"
FRAMES = "have several frames or pages, of which the first one is taken"
ENLARGED = "were smaller than asked for and enlarged"

Size = int | tuple[int, int] | None
"""A side in pixels, a height and a width, or None for a picture's own."""


class UnusableError(ValueError):
    """A file that is no usable picture. The message is the reason, the same one for all files of a kind."""


def decode(file: BinaryIO | bytes | Image.Image, size: Size, channels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels ``[channels, H, W]`` uint8 of a picture, and what was done to it (`TRANSPARENT`, `FRAMES`, `ENLARGED`).

    Args:
        file: an open file, its bytes, or a picture that was opened already.
        size: see `Size`; the picture is resized to cover it and cropped in the middle.
        channels: 3 for colour, 1 for grey.

    Raises:
        UnusableError: the file is damaged, no picture, or one whose pixels would have to be made up or cut.
    """
    try:
        if isinstance(file, bytes):
            file = io.BytesIO(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about large or slightly damaged files
            image = file if isinstance(file, Image.Image) else Image.open(file, formats=FORMATS)
            return _normalised(image, size, channels)
    except UnusableError:
        raise
    except Image.DecompressionBombError:
        raise UnusableError(TOO_LARGE) from None
    except UnidentifiedImageError:
        raise UnusableError("no readable picture") from None
    except Exception as error:  # a damaged file can make Pillow raise nearly anything
        reason = printable(error)[:200] or type(error).__name__
        raise UnusableError("damaged: cut off" if "truncated" in reason.lower() else f"damaged: {reason}") from None


def fit(pixels: Tensor, size: Size) -> Tensor:
    """Pixels ``[..., H, W]`` resized, with antialiasing, to cover a size, and cropped in the middle."""
    if size is None:
        return pixels
    high, wide = pair(size)
    height, width = pixels.shape[-2:]
    if (height, width) == (high, wide):
        return pixels
    if height * wide <= width * high:
        covering = [high, max(width * high // height, wide)]
    else:
        covering = [max(height * wide // width, high), wide]
    return tv.center_crop(tv.resize(pixels, covering, antialias=True), [high, wide])


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a size."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def grey(pixels: Tensor, channels: int) -> Tensor:
    """Pixels ``[..., C, H, W]`` in the number of channels wanted, 1 or 3."""
    if pixels.shape[-3] == channels:
        return pixels
    return tv.rgb_to_grayscale(pixels, 1) if channels == 1 else pixels.expand(*pixels.shape[:-3], 3, -1, -1)


def _normalised(image: Image.Image, size: Size, channels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    short, long = sorted(image.size)
    if short < LEAST_SIDE:
        raise UnusableError(f"a side of fewer than {LEAST_SIDE} pixels")
    if long > MOST_ELONGATED * short:
        raise UnusableError(f"more than {MOST_ELONGATED} times as long as it is short")
    if short * long > MOST_PIXELS:
        raise UnusableError(TOO_LARGE)
    if _is_deep(image):  # Pillow would cut off all above 255, or the lower bits
        raise UnusableError("more than 8 bits a channel; convert it to 8 bits")
    notes = [FRAMES] if getattr(image, "is_animated", False) else []
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if int(np.asarray(image.getchannel("A")).min()) < 255:
            notes.append(TRANSPARENT)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = torch.from_numpy(np.array(image.convert("RGB" if channels == 3 else "L")))
    pixels = pixels.permute(2, 0, 1) if channels == 3 else pixels[None]
    if size is not None and (pixels.shape[-2] < pair(size)[0] or pixels.shape[-1] < pair(size)[1]):
        notes.append(ENLARGED)
    return np.ascontiguousarray(fit(pixels, size).numpy()), tuple(notes)


def _is_deep(image: Image.Image) -> bool:
    """Whether the file holds more than eight bits a channel, which its mode tells of grey pictures alone."""
    if image.mode.startswith(("I", "F")):
        return True
    tiles: Any = getattr(image, "tile", ())
    for codec, _, _, last in tiles:
        arguments = last if isinstance(last, tuple) else (last,)
        if any(isinstance(a, str) and ";16" in a for a in arguments):
            return True
        if codec.startswith("ppm") and any(isinstance(a, int) and a > 255 for a in arguments):
            return True
    return False
