"""The command `galtrans`."""
