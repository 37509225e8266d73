"""The application: command line, runs on disk, and the evaluation of attacks on policies.

Its three functions are what users do: `attack` policies, write a `report`, `search` policies.
"""

from audit.evaluate import AttackConfig, attack
from audit.search import SearchConfig, search
from reports.html import write_report as report

__all__ = ["AttackConfig", "SearchConfig", "attack", "report", "search"]
