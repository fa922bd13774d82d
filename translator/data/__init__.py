"""Stores as endless batches for training, in whole chunks."""
