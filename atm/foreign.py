"""Files of others: regular ones alone, no larger than they may be, and JSON no deeper than can be read.

A pipe that nobody fills would be waited for, and a device such as ``/dev/zero`` never ends.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from atm.errors import AtmError

LARGEST = 1 << 20  # bytes of what people write by hand, which is far smaller


def check_regular(path: Path, what: str) -> None:
    """Refuse what is there and is no regular file; what is not there is refused by whoever opens it.

    Args:
        path: of the file.
        what: it is, with its name, for the message: ``weights x.safetensors``.

    Raises:
        AtmError: it is a folder, a pipe, a socket or a device, or no path can be such.
    """
    try:
        wrong = path.exists() and not path.is_file()
    except OSError as error:  # such as links in a circle
        raise AtmError(f"{what} cannot be read: {error.strerror or error}") from None
    if wrong:
        raise AtmError(f"{what} cannot be read: it is no regular file")


def read_text(path: str | Path, what: str) -> str:
    """A text file that people write by hand, of at most `LARGEST` bytes.

    Args:
        path: of the file.
        what: see `check_regular`.

    Raises:
        AtmError: it cannot be read, is too large, or is no text.
    """
    check_regular(Path(path), what)
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise AtmError(f"{what} is larger than {LARGEST >> 20} MiB")
        return data.decode()
    except OSError as error:
        raise AtmError(f"{what} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise AtmError(f"{what} cannot be read: not a text file") from None
    except ValueError as error:  # a null byte, or what no file system can name
        raise AtmError(f"{what} cannot be read: {error}") from None


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
