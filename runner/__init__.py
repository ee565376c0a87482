"""One run: its settings, files, random numbers, checkpoints and messages. It imports nothing else of the project."""
