"""A run: what it was made from, its states on disk, and images passed through it."""
