"""Measure, count and draw what context-gated networks do."""
