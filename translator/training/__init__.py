"""Training: a session, its loop, one iteration, and the agreement of several processes."""
