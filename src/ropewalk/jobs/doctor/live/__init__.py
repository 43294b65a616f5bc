"""A running server: the loss of fixed passages and a pass key at growing positions."""
