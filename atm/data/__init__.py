"""Pictures by name, normalised once and in one place.

Whatever comes out of `load` and `splits` is upright, opaque, of eight bits a channel, of one size and one number of
channels. What could not be used or had to be changed is said in `ImageSet.skipped` and `ImageSet.notes`.
"""

from atm.data.loading import load, splits
from atm.data.sets import ImageSet, Samples, Splits

__all__ = ["ImageSet", "Samples", "Splits", "load", "splits"]
