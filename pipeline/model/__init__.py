"""The layered network: the tensors, the training, the data."""
