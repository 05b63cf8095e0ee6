"""Draw how networks train, what their gates do, and where they look."""
