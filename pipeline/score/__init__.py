"""From transactions to scores, and from scores to alerts."""
