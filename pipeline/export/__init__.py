"""The champion for machines without this code."""
