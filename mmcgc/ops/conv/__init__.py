"""The gated convolution: ``functional`` chooses a backend, and each backend has a file of its own."""
