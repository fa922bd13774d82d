"""Which objects of two catalogues or stores are the same galaxy."""
