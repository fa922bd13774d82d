"""One simulated sky, seen by both surveys, as their archives' own files or as stores; needs GalSim."""
