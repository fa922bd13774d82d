"""Stores in the forms that other programs read: WebDataset and HATS, with a Croissant description and a card."""
