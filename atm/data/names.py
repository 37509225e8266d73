"""What the names of files say: a regular expression finds a file's group or label in its path."""

from __future__ import annotations

import re
from collections.abc import Sequence

from atm.errors import AtmError

FOLDER = "folder"


def named(names: Sequence[str], pattern: str, option: str) -> list[str]:
    """What a regular expression finds in each name: its first group, or without groups all that it matches.

    Args:
        names: paths.
        pattern: the regular expression.
        option: that it was given for, for the error.

    Returns:
        As many words, empty where nothing is found.

    Raises:
        AtmError: it is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise AtmError(f"{option} {pattern!r} is neither 'folder' nor a regular expression: {error}") from None
    matches = [compiled.search(name) for name in names]
    return ["" if match is None else (match[1] if compiled.groups else match[0]) or "" for match in matches]
