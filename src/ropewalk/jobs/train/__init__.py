"""Brief post-training under a plan."""
