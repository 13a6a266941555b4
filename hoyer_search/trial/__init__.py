"""One trial: its stages, its training loop and what it leaves on disk. Runs in a worker."""
