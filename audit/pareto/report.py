"""The report of a search: one interactive HTML file that opens offline."""

from __future__ import annotations

import shlex
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from atm.store import write
from audit.pareto import figures
from audit.pareto.outcome import SUITE_IMAGES, Outcome


def write_report(outcome: Outcome) -> Path:
    """Write ``report.html``, whole or not at all, and say where."""
    path = outcome.folder / "report.html"
    write(path, render(outcome))
    return path


def render(outcome: Outcome) -> str:
    """The page as text; everything that came from a file or a user is escaped."""
    environment = Environment(
        loader=PackageLoader("audit.pareto", "templates"), autoescape=True, undefined=StrictUndefined
    )
    drawn = [
        ("The front, two objectives at a time", figures.pairwise(outcome)),
        ("The front, all objectives and thresholds", figures.parallel(outcome)),
        ("Thresholds of each layer along the front", figures.thresholds(outcome)),
        ("Hypervolume", figures.progress(outcome)),
    ]
    prices = outcome.price()
    return environment.get_template("search.html.j2").render(
        outcome=outcome,
        config=outcome.config,
        command=command(outcome),
        plotly=Markup(get_plotlyjs()),
        drawn=[(title, _html(figure)) for title, figure in drawn] if outcome.front else [],
        prices=prices,
        price=_html(figures.price(outcome)) if prices else "",
        recommended=outcome.recommended(),
        failures=len(outcome.failures),
        suite_images=min(outcome.config.images, SUITE_IMAGES),
    )


def command(outcome: Outcome) -> str:
    """The command line that asks for the same."""
    words = ["atm", "search"]
    for key, value in outcome.config.as_dict().items():
        flag = "--" + key.replace("_", "-")
        if key == "objectives":
            words += [flag, *value]
        else:
            values = value if isinstance(value, list) else [value]
            words += [word for v in values if v is not None for word in (flag, str(v))]
    return shlex.join([*words, "--out", str(outcome.folder)])


def _html(figure: go.Figure) -> Markup:
    """A figure of the page; without its button, which Plotly shows by default, to upload the data to a cloud."""
    config = {"displaylogo": False, "showSendToCloud": False}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))
