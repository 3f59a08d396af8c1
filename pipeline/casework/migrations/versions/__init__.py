"""One file a step, each written out in full."""
