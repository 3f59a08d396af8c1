"""The lake: Delta tables, and what was known at a moment."""
