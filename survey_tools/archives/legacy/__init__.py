"""The archive of the Legacy Surveys: pixels of its bricks, as the viewer's cutout service sends them."""
