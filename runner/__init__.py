"""One run's machinery: settings, files, random numbers, checkpoints, messages. It imports nothing else of the project."""
