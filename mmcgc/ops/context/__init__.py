"""Pooling and the network of the context, with their kernels for GPUs."""
