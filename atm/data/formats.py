"""What kinds of files a data set can be made of, and what is particular to them."""

from __future__ import annotations

from dataclasses import dataclass

from atm.data import duplicates, pictures, recordings, sounds
from atm.data.duplicates import Alike


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        noun: what one of them is called.
        suffixes: how their names end, in lower case.
        alike: what near-duplicates of them are.
    """

    noun: str
    suffixes: frozenset[str]
    alike: Alike

    @property
    def stray(self) -> str:
        """What is said of a file that is none of them."""
        return f"not named like a {self.noun}"


PICTURE = Kind("picture", pictures.SUFFIXES, duplicates.pictures)
SOUND = Kind("sound", sounds.SUFFIXES, recordings.alike)


def kind_of(spectrogram: str) -> Kind:
    """Sounds where a spectrogram is to be made (`atm.signals.spectrogram`), pictures where the name is empty."""
    return SOUND if spectrogram else PICTURE
