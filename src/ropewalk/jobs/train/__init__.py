"""Training a stretched model briefly, so that it lives with the stretch."""
