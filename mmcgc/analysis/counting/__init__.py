"""Count parameters and operations, and set them beside those of the paper."""
