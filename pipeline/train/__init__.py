"""Candidates trained, compared, recorded."""
