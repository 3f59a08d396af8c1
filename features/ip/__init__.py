"""Facts of IP addresses from .mmdb files."""
