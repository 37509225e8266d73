"""The page of a search keeps to itself."""

from __future__ import annotations

import plotly.graph_objects as go

from audit.pareto.report import _html


def test_no_figure_offers_to_upload_its_data_or_names_a_server():
    page = str(_html(go.Figure(go.Scatter(x=[1], y=[2]))))
    assert page.count("Plotly.newPlot") == page.count('"showSendToCloud": false') == 1
    assert "http" not in page and '"displaylogo": false' in page
