"""Checkpoints on disk, written and patched without torch."""
