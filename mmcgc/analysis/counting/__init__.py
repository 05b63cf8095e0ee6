"""Parameters and operations, beside those of the paper."""
