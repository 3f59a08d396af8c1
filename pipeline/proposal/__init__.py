"""Proposals: a whole portfolio.toml from the files themselves, with every doubt in it."""
