"""Checkpoints: read safely, loaded, averaged, converted between layouts, and noted."""
