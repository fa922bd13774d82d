"""Partitioned stores: one store for each HEALPix pixel of a folder that is laid out as a HATS catalogue."""
