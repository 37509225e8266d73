"""Folders of runs: one writer, nothing half-written, nothing damaged that is not named."""

from atm.store.files import check_writable, make_folder, remove, write, write_folder
from atm.store.kinds import FORMAT, KINDS, Kind
from atm.store.paths import inside
from atm.store.reading import StoredRun, settings_of
from atm.store.writing import BEGUN, RunStore

__all__ = [
    "BEGUN",
    "FORMAT",
    "KINDS",
    "Kind",
    "RunStore",
    "StoredRun",
    "check_writable",
    "inside",
    "make_folder",
    "remove",
    "settings_of",
    "write",
    "write_folder",
]
