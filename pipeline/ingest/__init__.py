"""Rows in, each checked."""
