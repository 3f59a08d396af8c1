"""When things run, and what happens if they fail."""
