"""The functions that command lines call, to train, test, translate, classify a video or run a queue of trainings."""
