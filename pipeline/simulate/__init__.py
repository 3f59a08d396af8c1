"""A seeded world of accounts, IPs, places and retailers with planted fraud."""
