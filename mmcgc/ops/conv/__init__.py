"""The gated convolution: the choice of a backend, and one file a backend."""
