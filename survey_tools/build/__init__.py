"""Stores, built chunk by chunk: fetched from an archive, or derived from another store."""
