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
