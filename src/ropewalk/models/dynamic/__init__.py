"""Dynamic plans that rotate keys when they are read: causal, rotate and recompute."""
