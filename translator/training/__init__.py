"""Training: a session, its loop, and what several processes agree on."""
