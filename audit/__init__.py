"""The application: command line, runs on disk, and the evaluation of attacks on policies.

Its three functions are what users do: `attack` policies, write a `report`, `search` policies. They are imported when
they are asked for, so that ``atm --help`` need not wait for torch.

Part of the distribution ``atm-privacy``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit.attack_config import AttackConfig
    from audit.evaluate import attack
    from audit.pareto import SearchConfig, search
    from reports.html import write_report as report

_WHERE = {
    "AttackConfig": ("audit.attack_config", "AttackConfig"),
    "SearchConfig": ("audit.pareto", "SearchConfig"),
    "attack": ("audit.evaluate", "attack"),
    "report": ("reports.html", "write_report"),
    "search": ("audit.pareto.run", "search"),
}

__all__ = ["AttackConfig", "SearchConfig", "attack", "report", "search"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, member = _WHERE[name]
    return getattr(import_module(module), member)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
