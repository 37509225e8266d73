"""A file for each group of commands; `audit.cli` puts them together."""
