"""A finished run becomes one self-contained HTML page.

Part of the distribution ``atm-privacy``.
"""
