"""The classical side that the layered network is measured against."""
