"""No test here pulls a plug, so none waits for a disk."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True, scope="package")
def no_waiting_for_disks():
    """``fsync`` returns at once; `tests.atm.store.faults.Calls` still counts it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield
