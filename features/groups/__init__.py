"""The groups of facts, one a file: each is one depth stage of the network."""
