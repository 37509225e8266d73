"""Good files, made once, and a fresh copy of them for each input."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.fuzz import world
from tests.fuzz.commands import gated

Copies = Callable[..., AbstractContextManager[Path]]


def pytest_collection_modifyitems(items):
    """One test tries hundreds of inputs, each of which has a limit of its own."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        world.build(folder)
    return folder


@pytest.fixture(scope="module")
def copies(made, tmp_path_factory) -> Iterator[Copies]:
    """A folder with copies of some of the good files, links to the others; within it no command computes."""
    beside = tmp_path_factory.mktemp("copies")

    @contextmanager
    def copied(*names: str) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=beside))
        try:
            for name in world.FILES:
                if name not in names:
                    os.symlink(made / name, folder / name)
                elif (made / name).is_dir():
                    shutil.copytree(made / name, folder / name)
                else:
                    shutil.copy(made / name, folder / name)
            yield folder
        finally:
            shutil.rmtree(folder)

    with gated(beside / "home"):
        yield copied
