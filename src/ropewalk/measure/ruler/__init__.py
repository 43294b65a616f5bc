"""What the thirteen RULER tasks share: counting tokens by the piece, word lists, and fitting a sample to its length."""
