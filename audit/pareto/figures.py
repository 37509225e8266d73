"""Interactive figures of a search, as plotly's; nothing in them is fetched."""

from __future__ import annotations

from itertools import combinations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from audit.pareto.objectives import Objective
from audit.pareto.outcome import Outcome
from audit.pareto.price import prices
from audit.pareto.recommendation import recommended
from audit.pareto.trials import Trial

FRONT, REST, STAR = "#2f6690", "#c3ccd4", "#d1495b"
SCALE = "Viridis"


def pairwise(outcome: Outcome) -> go.Figure:
    """Every pair of objectives: all policies, those of the front, and the recommended ones."""
    pairs = list(combinations(outcome.objectives, 2))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = make_subplots(rows=rows, cols=columns, horizontal_spacing=0.07, vertical_spacing=0.3 / rows)
    kept = {trial.number for trial in outcome.front}
    rest = [trial for trial in outcome.trials if trial.failure is None and trial.number not in kept]
    stars = recommended(outcome)
    for index, (x, y) in enumerate(pairs):
        row, column = index // columns + 1, index % columns + 1
        shown = index == 0
        figure.add_trace(_dots(rest, x, y, "other policies", REST, 6, shown), row, column)
        figure.add_trace(_dots(outcome.front, x, y, "front", FRONT, 8, shown), row, column)
        dots = _dots([r.trial for r in stars], x, y, "recommended", STAR, 13, shown)
        dots.update(marker_symbol="star", text=[f"{r.title}: {r.trial.name}" for r in stars])
        figure.add_trace(dots, row, column)
        figure.update_xaxes(title=outcome.heading(x), row=row, col=column)
        figure.update_yaxes(title=outcome.heading(y), row=row, col=column)
    return _plain(figure, 330 * rows + 60)


def _dots(
    trials: list[Trial], x: Objective, y: Objective, name: str, colour: str, size: int, legend: bool
) -> go.Scatter:
    return go.Scatter(
        x=[trial.values[x.name] for trial in trials],
        y=[trial.values[y.name] for trial in trials],
        text=[f"{trial.name}<br>" + " ".join(f"{t:.2f}" for t in trial.thresholds) for trial in trials],
        mode="markers",
        marker={"color": colour, "size": size},
        name=name,
        legendgroup=name,
        showlegend=legend,
    )


def parallel(outcome: Outcome) -> go.Figure:
    """A line per policy of the front through its objectives and thresholds; drag along an axis to filter."""
    front = outcome.front
    dimensions = [
        {"label": outcome.heading(o), "values": [trial.values[o.name] for trial in front]} for o in outcome.objectives
    ]
    layers = len(front[0].thresholds) if front else 0
    dimensions += [
        {"label": f"threshold {layer}", "values": [trial.thresholds[layer] for trial in front]}
        for layer in range(layers)
    ]
    colour = outcome.objectives[-1]
    values = [trial.values[colour.name] for trial in front]
    line = {"color": values, "colorscale": SCALE, "showscale": True, "colorbar": {"title": colour.label}}
    return _plain(go.Figure(go.Parcoords(line=line, dimensions=dimensions)), 420)


def progress(outcome: Outcome) -> go.Figure:
    """Hypervolume after each evaluation."""
    volumes = outcome.volumes
    figure = go.Figure(go.Scatter(x=list(range(1, len(volumes) + 1)), y=volumes, mode="lines", line_color=FRONT))
    figure.add_vline(x=outcome.start, line_dash="dot", line_color=REST, annotation_text="the model takes over")
    figure.update_xaxes(title="evaluations")
    figure.update_yaxes(title="hypervolume", rangemode="tozero")
    return _plain(figure, 320)


def thresholds(outcome: Outcome) -> go.Figure:
    """Thresholds of each layer along the front, which is ordered by its first column."""
    front = outcome.front
    heat = go.Heatmap(
        z=[list(trial.thresholds) for trial in front],
        x=[f"layer {layer}" for layer in range(len(front[0].thresholds))] if front else [],
        y=[trial.name for trial in front],
        colorscale=SCALE,
        colorbar={"title": "threshold"},
    )
    figure = go.Figure(heat)
    figure.update_yaxes(autorange="reversed")
    return _plain(figure, 140 + 18 * len(front))


def price(outcome: Outcome) -> go.Figure:
    """Leakage of the front without privacy beside that of equally good policies of the whole front."""
    found = prices(outcome)
    names = [p.ignoring.name for p in found]
    figure = go.Figure()
    for which, label, colour in (
        (0, "front without leakage", STAR),
        (1, "as accurate and as cheap, with leakage minded", FRONT),
    ):
        figure.add_trace(go.Bar(x=names, y=[p.leakage[which] for p in found], name=label, marker_color=colour))
    figure.update_yaxes(title="leakage (SSIM)")
    return _plain(figure, 340)


def _plain(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        template="plotly_white", height=height, margin={"l": 60, "r": 30, "t": 40, "b": 50}, barmode="group",
        legend={"orientation": "h", "y": 1.08},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",  # the page's own ground, light or dark
    )  # fmt: skip
    return figure
