"""From files to a decision."""
