"""The archive of Pan-STARRS1: the stacks at a position, and the cutouts of its image service."""
