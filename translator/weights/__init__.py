"""Weights in and out of a run, the authors' included."""
