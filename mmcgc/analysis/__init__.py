"""Looking at context-gated networks."""
