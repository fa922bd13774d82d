"""Weights in and out of a run, also the authors'."""
