"""The search for policies that are good in accuracy, compute, tokens and privacy at once."""

from audit.search.config import SearchConfig
from audit.search.outcome import Outcome
from audit.search.run import search

__all__ = ["Outcome", "SearchConfig", "search"]
