"""Benchmarks: how fast and how good the framework is, each a command with its latest results beside it."""
