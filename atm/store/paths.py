"""Where the files of a run are: under its folder, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from atm.errors import AtmError


def inside(folder: Path, *names: str) -> Path:
    """The path of a file or folder in a run folder, which need not exist.

    A run folder may come from anybody, and a report shows what is in it. So a name is one step down, and no link is
    followed on the way; the folder itself may be a link.

    Args:
        folder: of the run.
        names: of each step down.

    Raises:
        AtmError: a name is none of one file, or a step is a link.

    Examples:
        >>> inside(Path("run"), "images", "none", "0000.png").as_posix()
        'run/images/none/0000.png'
    """
    path = folder
    for name in names:
        if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
            raise AtmError(f"{folder}: {name!r} cannot be the name of a file or folder in it")
        path = path / name
        try:
            link = path.is_symlink()
        except OSError as error:
            raise AtmError(f"{path} cannot be read: {error.strerror or error}") from None
        if link:
            raise AtmError(f"{path} is a link; nothing is read or written through links in a run folder")
    return path
