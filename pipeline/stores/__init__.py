"""The stores of a home as one: whether they belong together, and copies of them all."""
