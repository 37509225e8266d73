"""Repositories of weights: a folder, or a name on the Hugging Face hub; the same files in either."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils import get_session
from torch import Tensor

from atm.errors import AtmError
from atm.foreign import parse_json
from atm.weight_files import read_tensors

PATIENCE = 5.0  # seconds to wait for the hub's first answer
HUB = re.compile(r"(?:hf[-_]hub:)?([\w.-]+/[\w.-]+(?:@[\w./-]+)?)")  # a repository's name
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


@contextmanager
def hub(wanted: str) -> Iterator[None]:
    """Use the hub after one short attempt to reach it; where that fails, only what is cached is used.

    The hub's client would try again and again, for most of a minute.

    Args:
        wanted: what for, for the error.

    Raises:
        AtmError: whatever goes wrong inside, in one line.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers()
    try:
        yield
    except AtmError:
        raise
    except Exception as error:  # the hub's client raises many kinds; all mean the same to the user
        offline = constants.HF_HUB_OFFLINE or isinstance(error, LocalEntryNotFoundError)
        reason = "the hub cannot be reached and nothing is cached" if offline else _first_line(error)
        raise AtmError(f"{wanted} cannot be had ({reason})") from None
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers() -> bool:
    try:
        return get_session().head(constants.ENDPOINT, timeout=PATIENCE).status_code < 500
    except Exception:  # every kind of failure means that there is no hub here
        return False


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@dataclass(frozen=True)
class Repository:
    """A folder, or ``owner/name`` with ``@revision`` on the hub."""

    name: str

    def file(self, filename: str) -> Path | None:
        """Where a file lies on this machine, downloaded if need be; None if the repository has none of that name.

        Raises:
            AtmError: the hub has no such repository or cannot be reached.
        """
        if Path(self.name).is_dir():
            path = Path(self.name) / filename
            return path if path.is_file() else None
        repository, _, revision = self.name.partition("@")
        with hub(f"victim {self.name!r}"):
            try:
                return Path(hf_hub_download(repository, filename, revision=revision or None))
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                return None

    def json(self, filename: str) -> dict[str, Any]:
        """The object in a JSON file; empty if there is no such file.

        Raises:
            AtmError: the file holds no JSON object.
        """
        path = self.file(filename)
        if path is None:
            return {}
        try:
            found = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AtmError(f"{path} cannot be read as JSON: {_first_line(error)}") from None
        if not isinstance(found, dict):
            raise AtmError(f"{path} holds no JSON object")
        return found

    def tensors(self) -> dict[str, Tensor]:
        """All weights, from one safetensors file or several.

        Raises:
            AtmError: there are none as safetensors.
        """
        return {name: tensor for path in self.weights() for name, tensor in read_tensors(path)[1].items()}

    def weights(self) -> list[Path]:
        """Where its weights lie on this machine, downloaded if need be.

        Raises:
            AtmError: there are none as safetensors.
        """
        found = []
        for name in [WEIGHTS] if self.file(WEIGHTS) else self._parts():
            path = self.file(Path(name).name)
            if path is None:
                raise AtmError(f"victim {self.name!r} lacks {name}, which its index names")
            found.append(path)
        if not found:
            raise AtmError(f"victim {self.name!r} has no {WEIGHTS}; pickles are converted with 'atm convert'")
        return found

    def _parts(self) -> list[str]:
        """The weight files that an index names."""
        index = self.json(INDEX).get("weight_map", {})
        if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
            raise AtmError(f"victim {self.name!r}: {INDEX} has no weight_map from tensors to files")
        return sorted(set(index.values()))
