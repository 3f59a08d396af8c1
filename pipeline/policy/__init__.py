"""What is done with a score."""
