"""Planted systems: links whose right verdict is known, because it was put there by hand."""
