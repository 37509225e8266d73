"""The application: command line, runs on disk, and the evaluation of attacks on policies."""
