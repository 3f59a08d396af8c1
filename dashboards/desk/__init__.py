"""The review desk, one file a page."""
