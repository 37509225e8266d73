"""What reports call a kind of signal, its parts, its leakage, and the attacks that others are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from atm.signals import Signal
from attacks import BASELINES
from privacy_metrics import METRICS


def words_of(signal: type[Signal]) -> Mapping[str, str]:
    """Words by the names that texts have in braces: flags, terms and what bounds rest on."""
    known, bar = BASELINES[signal.name], signal.bar
    roles = {name: value for name, value in asdict(known).items() if isinstance(value, str)}
    blind = ", ".join(f"`{name}`" for name in known.blind)
    numbers = {name: f"{value:g}" for name, value in asdict(bar).items()}
    measure = METRICS[signal.leakage].label
    return {
        **roles,
        **numbers,
        "blind": blind,
        "noun": signal.noun,
        "part": signal.part,
        "parts": signal.parts,
        "content": signal.content,
        "measure": measure,
    }
