"""A trainer and its rollout, both running: log-probabilities of the same tokens, and how far they lie apart."""
