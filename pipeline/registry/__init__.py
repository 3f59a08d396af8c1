"""Bundles, their versions, and which one decides."""
