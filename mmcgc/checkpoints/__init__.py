"""Read checkpoints safely, load, average, convert and publish them, and note which of them a run has written."""
