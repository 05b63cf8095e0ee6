"""Pool the input of a convolution to its context and run the network that reads it, with kernels for GPUs."""
