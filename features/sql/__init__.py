"""The declarations as SQL."""
