"""Thousands of inputs that nobody should give, and what must be true of every command however it is asked."""
