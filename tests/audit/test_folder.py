"""What was found elsewhere reaches the folder as it would have, had it been found there."""

from __future__ import annotations

import pickle

import pandas as pd
import torch

from atm.signals import ImageSignal
from audit import folder
from audit.folder import Notebook, Results


class Recorded(Results):
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.done, self.linked, self.told = {("before", "ridge", 0)}, set(), []

    def append(self, name, record):
        self.told.append(("line", name, dict(record)))

    def append_rows(self, name, rows):
        self.told.append(("rows", name, rows.to_dict("list")))

    def write_folder(self, names, contents):
        self.told.append(("files", tuple(names), dict(contents)))


def found(results: Results) -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    results.add_history("none", "decoder", 0, {"loss": [0.5, 0.25]})
    results.add_scores("none", "decoder", {"ssim": torch.tensor([0.5, 0.75])}, (images, ImageSignal((3, 8, 8), (2, 2))))
    results.add_seconds("none", "decoder", 1.5, 0.25)
    row = pd.DataFrame([dict.fromkeys(folder.LINK, 1.0)]).assign(policy="none")
    results.add_link("none", row)


def test_a_notebook_tells_the_folder_what_it_was_told_in_its_order():
    """Also after a journey to another process and back."""
    here, there = Recorded(), Recorded()
    found(here)
    notebook = Notebook(there)
    found(notebook)
    assert not there.told
    pickle.loads(pickle.dumps(notebook)).tell(there)
    assert [kind for kind, *_ in there.told] == ["line", "files", "rows", "rows", "rows"]
    assert there.told == here.told and there.done == here.done and there.linked == here.linked
    assert ("before", "ridge", 0) in there.done and ("none", "decoder", 0) in there.done
