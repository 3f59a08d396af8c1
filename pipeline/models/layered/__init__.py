"""The layered network: tensors, training, and what its shape gives."""
