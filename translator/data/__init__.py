"""The images that a training reads: which objects, in which order, read in whole chunks ahead of their use."""
