"""Rows in, each checked and counted."""
