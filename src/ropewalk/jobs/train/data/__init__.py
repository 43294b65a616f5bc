"""From texts to the rows that a training step reads."""
