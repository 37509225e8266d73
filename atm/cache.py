"""Files that can be made anew: entries that are complete or absent, the oldest removed above a limit.

They lie under ``$ATM_CACHE`` (default ``~/.cache/atm-privacy``), by kind, and take at most ``$ATM_CACHE_LIMIT``
gigabytes (default 20) together. An entry is a folder, renamed into place when it is complete.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from atm.errors import AtmError

LIMIT = 20.0  # GB
ABANDONED = 86_400  # seconds after which a folder that was never completed is removed
UNFINISHED = "unfinished-"
PICTURES, ENCODINGS = "pictures", "encodings"  # the kinds


def cache_folder() -> Path:
    """Where they are kept."""
    return Path(os.environ.get("ATM_CACHE") or "~/.cache/atm-privacy").expanduser()


def limit() -> float:
    """Bytes that all entries may take together.

    Raises:
        AtmError: ``$ATM_CACHE_LIMIT`` is no number of gigabytes.
    """
    text = os.environ.get("ATM_CACHE_LIMIT") or str(LIMIT)
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not found >= 0:
        raise AtmError(f"ATM_CACHE_LIMIT is {text!r}; give a number of gigabytes, 0 for no cache")
    return found * 1e9


def place(kind: str, key: str) -> Path:
    """Where the entry of a key is or would be; an entry that is there counts as used now."""
    found = cache_folder() / kind / key
    with suppress(OSError):
        os.utime(found)
    return found


def draft(at: Path) -> Path:
    """A folder to fill, to be handed to `complete`, or removed.

    Raises:
        OSError: nothing can be written there.
    """
    at.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=at.parent))


def complete(filled: Path, at: Path) -> bool:
    """Put a filled folder into its place; False where that cannot be, as when another process was faster."""
    try:
        filled.rename(at)
    except OSError:
        return False
    with suppress(OSError):  # of another process that removes the same
        _shrink(at)
    return True


def _shrink(keep: Path) -> None:
    """Remove the entries that were not used for longest until the others fit; never the newest one."""
    taken = 0
    folders = [path for kind in (PICTURES, ENCODINGS) for path in (cache_folder() / kind).glob("*") if path.is_dir()]
    for used, folder in sorted([(path.stat().st_mtime, path) for path in folders], reverse=True):
        if folder.name.startswith(UNFINISHED):
            if time.time() - used > ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        taken += sum(file.stat().st_size for file in folder.iterdir())
        if taken > limit() and folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
