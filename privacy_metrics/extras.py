"""Optional packages, and the command that installs them: the checkout is their only source, for it is on no index."""

from __future__ import annotations

from importlib.util import find_spec


def installing(what: str) -> str:
    """The command that installs packages into this environment, which has pip, or was made by uv and has none."""
    return f"{'pip' if find_spec('pip') else 'uv pip'} install {what}"


def extra(name: str) -> str:
    """How to install one of the extras of ``pyproject.toml``, for the end of an error's line.

    Args:
        name: of the extra.
    """
    wanted = f"-e '.[{name}]'"
    return f"in the checkout, do: {installing(wanted)}"
