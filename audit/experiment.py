"""Experiment files: the fields of a configuration as YAML, or JSON, which is YAML too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from atm.errors import AtmError

if TYPE_CHECKING:
    import yaml

    from audit.system import System

SUFFIXES = (".yaml", ".yml", ".json")
Config = TypeVar("Config", bound="System")


def read(path: str | Path, kind: type[Config], changes: Mapping[str, Any] | None = None) -> Config:
    """The configuration that a file describes; paths in it count from the working directory, as on the command line.

    Args:
        path: of the file.
        kind: of configuration.
        changes: fields that count instead of the file's.

    Raises:
        AtmError: the file cannot be read, says something twice, or has an unknown or invalid field.
    """
    content = _content(Path(path))
    try:
        return kind.model_validate({**content, **(changes or {})})
    except AtmError as error:
        raise AtmError(f"experiment file {path}: {error}" if _at_fault(content, kind) else str(error)) from None


def _at_fault(content: dict[str, Any], kind: type[System]) -> bool:
    """Whether the file alone is wrong already, and not what overrides it."""
    try:
        kind.model_validate(content)
    except AtmError:
        return True
    return False


def _content(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise AtmError(f"experiment file {path} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        raise AtmError(f"experiment file {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise AtmError(f"experiment file {path} needs fields such as 'policies: [none, moderate]'")
    return content


def _loader() -> type[yaml.SafeLoader]:
    """YAML's safe loader, but for keys that stand there twice: it would take the last and say nothing."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for key, _ in node.value:
                if keys.count(key.value) > 1:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            return super().construct_mapping(node, deep)

    return Loader
