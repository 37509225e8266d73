"""Files that people write by hand: YAML or JSON, one mapping of typed fields, and nothing that has two meanings."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from atm.errors import AtmError, one_line, unknown
from atm.foreign import read_text

EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
}
SHOWN = 60  # characters of a value that a message repeats


class Fields(BaseModel):
    """A document's fields: no others, and no value that is only nearly of its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


F = TypeVar("F", bound=Fields)


class _Loader(yaml.SafeLoader):
    """Plain values only; a key stands once, and ``1e-1`` is a number, as in YAML 1.2 and JSON."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping. Raises `yaml.YAMLError` for a key that stands twice."""
        seen: set[Hashable] = set()
        for part, _ in node.value:
            key = self.construct_object(part, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", part.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{_shown(key)} stands twice", part.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read(path: str | Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML or JSON file, its keys as text.

    Args:
        path: the file.
        what: it is, such as ``policy``.

    Raises:
        AtmError: it cannot be read, is no mapping, or says something twice.
    """
    try:
        content = yaml.load(read_text(path, f"{what} file {path}"), _Loader)  # every JSON document is YAML too
    except (yaml.YAMLError, ValueError, TypeError) as error:  # the last two: values that Python has not, odd keys
        raise AtmError(f"{what} file {path} is neither YAML nor JSON: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise AtmError(f"{what} file {path} is nested too deeply") from None
    if not isinstance(content, dict):
        raise AtmError(f"{what} file {path} needs fields with values, such as name: mine")
    return {str(key): value for key, value in content.items()}


def typed(model: type[F], content: dict[str, Any], where: str) -> F:
    """A document's fields, checked.

    Raises:
        AtmError: the first field that is unknown, missing or of another type.
    """
    known = list(model.model_fields)
    for key in content:
        if key not in known:
            raise AtmError(f"{where}: {unknown('field', key, known)}")
    try:
        return model(**content)
    except ValidationError as error:
        raise refusal(error, where) from None
    except (OverflowError, ValueError, RecursionError) as error:
        raise AtmError(f"{where}: {one_line(error)}") from None


def refusal(error: ValidationError, where: str, known: Collection[str] = ()) -> AtmError:
    """The first thing that is wrong with some fields, in one line.

    Args:
        error: of pydantic.
        where: they stand.
        known: their names, of which the nearest is suggested for one that is none.
    """
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else "it"
    if first["type"] == "missing":
        return AtmError(f"{where} needs a field {field!r}")
    if first["type"] == "unexpected_keyword_argument":
        return AtmError(f"{where}: {unknown('field', field, known)}")
    place = "".join(f"[{step}]" for step in first["loc"][1:])
    value = _shown(first["input"])
    message = EXPECTED.get(first["type"], first["msg"].removeprefix("Input should be "))
    hint = "; a word such as no or yes needs quotes" if isinstance(first["input"], bool) else ""
    return AtmError(f"{where}: {field}{place} is {value}, expected {message}{hint}")


def _shown(value: Any) -> str:
    """A value in a message, short however large it is."""
    return reprlib.repr(value)[:SHOWN]


def name(value: str, what: str) -> str:
    """A name that can be printed and looked for.

    Raises:
        AtmError: it is empty, long, or holds characters that do not print.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > 100 or not value.isprintable():
        raise AtmError(f"{what} name {str(value)[:SHOWN]!r} is not 1 to 100 characters that print; choose another")
    return value
