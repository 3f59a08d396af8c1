"""The models that compete: the layered network and classical ones."""
