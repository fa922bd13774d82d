"""The report card: which galaxies are measured, against what, and what is required of a run."""
