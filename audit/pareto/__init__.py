"""The search for policies that are good in accuracy, compute, tokens and privacy at once."""

from audit.pareto.config import SearchConfig
from audit.pareto.outcome import Outcome
from audit.pareto.price import prices
from audit.pareto.recommendation import recommended
from audit.pareto.run import search

__all__ = ["Outcome", "SearchConfig", "prices", "recommended", "search"]
