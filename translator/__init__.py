"""Networks that translate the galaxy images of one survey into another's."""
