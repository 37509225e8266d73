"""The application: command line, runs on disk, and the evaluation of attacks on policies.

Its three functions are what users do: `attack` policies, write a `report`, `search` policies.
"""

from audit.evaluate import attack
from audit.search import SearchConfig, search
from audit.setting import AttackConfig
from reports.html import write_report as report

__all__ = ["AttackConfig", "SearchConfig", "attack", "report", "search"]
