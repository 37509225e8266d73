"""Command lines as text: what was asked for, so that it can be asked for again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FIELDS = {
    "policy": "policies",
    "attack": "attacks",
    "defense": "defenses",
    "channel": "channels",
    "codec": "codecs",
}  # what repeatable parameters fill, where the configuration has such a field
PARAMETERS = {field: parameter for parameter, field in FIELDS.items()}


def in_words(options: Mapping[str, Any]) -> str:
    """Options as a shell takes them.

    Args:
        options: by the names of their parameters. None and False are left out, True stands for the option alone, and of
            a list every value has the option before it.
    """
    words = list[str]()
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words += [w for each in (value if isinstance(value, list | tuple) else [value]) for w in (flag, str(each))]
    return shlex.join(words)


def command_line(
    start: str, config: DataclassInstance, shown: Callable[[str], str] = str, without: Collection[str] = ()
) -> str:
    """The command line that asks for what a configuration does.

    Args:
        start: its first words.
        config: whose fields are options; those that are as by default are left out. None in place of a default is no
            limit, for which the command line has 0.
        shown: what is written of a text, such as `without_folders`.
        without: fields that are no options.
    """
    values = {each.name: (vars(config)[each.name], each.default) for each in fields(config) if each.name not in without}
    asked = {
        PARAMETERS.get(name, name): _shown(0 if value is None else value, shown)
        for name, (value, usual) in values.items()
        if value != usual
    }
    return f"{start} {in_words(asked)}".strip()


def without_folders(name: str) -> str:
    """A name without the folders of the machine that it was read on."""
    try:
        return Path(name).name if name and Path(name).exists() else name
    except OSError:  # too long for a path
        return name


def _shown(value: Any, shown: Callable[[str], str]) -> Any:
    if isinstance(value, list | tuple):
        return [_shown(each, shown) for each in value]
    return shown(value) if isinstance(value, str) else value
