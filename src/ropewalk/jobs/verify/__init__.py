"""Real engines as witnesses: the same tokens beyond the original window, scored by each, with and without the scaling."""
