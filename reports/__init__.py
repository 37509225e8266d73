"""A finished run becomes one self-contained HTML page."""
