"""The search for policies that are good in accuracy, compute, tokens and privacy at once."""

from typing import TYPE_CHECKING

from audit import lazy

if TYPE_CHECKING:
    from audit.search.config import SearchConfig
    from audit.search.outcome import Outcome
    from audit.search.run import search

__all__ = ["Outcome", "SearchConfig", "search"]

__getattr__, __dir__ = lazy.names(
    __name__,
    {
        "Outcome": "audit.search.outcome:Outcome",
        "SearchConfig": "audit.search.config:SearchConfig",
        "search": "audit.search.run:search",
    },
)
