"""What a command line calls: training, testing, translating, classifying a video, and a queue of trainings."""
