"""The command line of a benchmark. Bad input ends in one line on standard error and exit code 2, as that of ``atm``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from atm.errors import AtmError
from audit.ending import DEBUG, ended


class Parser(argparse.ArgumentParser):
    """The options of one benchmark.

    Args:
        name: of its module.
        doc: of its module: the first paragraph stands above the options, and the rest below.
    """

    def __init__(self, name: str, doc: str | None) -> None:
        summary, _, rest = (doc or "").partition("\n\n")
        super().__init__(
            f"python -m benchmarks.{name}",
            description=summary,
            epilog=rest,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument(DEBUG, action="store_true", help="print the trace of an error")

    def error(self, message: str) -> NoReturn:
        """One line, without the usage before it."""
        raise AtmError(message)


SYSTEM = ("victim", "weights", "image_size", "head", "data")


def add_system(parser: Parser, victim: str = "vit_photos", data: str = "photos") -> None:
    """The options that say which victim and which data; `system` has what was asked for.

    Args:
        parser: of the benchmark.
        victim: by default.
        data: by default.
    """
    parser.add_argument("--victim", default=victim, help="shipped victim, timm name, file or folder, as in atm attack")
    parser.add_argument("--weights", help="safetensors file with a timm victim's weights")
    parser.add_argument("--image-size", help="side of its pictures in pixels, 224 or 224x160")
    parser.add_argument("--head", help="file of atm train head, or probe")
    parser.add_argument("--data", default=data, help="pictures to attack, as in atm attack")


def system(asked: argparse.Namespace) -> dict[str, Any]:
    """What `add_system` added, as fields of a configuration."""
    return {name: getattr(asked, name) for name in SYSTEM}


def run(main: Callable[[], Any]) -> NoReturn:
    """Run a benchmark and end the process as `audit.ending.ended` says."""
    sys.exit(ended(main, sys.argv[1:]))


def positive(text: str) -> int:
    """A whole number above 0, as an option's ``type``."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def fraction(text: str) -> float:
    """A part of a whole, in [0, 1), as an option's ``type``."""
    try:
        if 0 <= (value := float(text)) < 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to below 1")
