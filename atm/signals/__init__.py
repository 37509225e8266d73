"""What a victim takes in and an attack gives back; each kind is one file."""

from atm.signals.image import ImageSignal

__all__ = ["ImageSignal"]
