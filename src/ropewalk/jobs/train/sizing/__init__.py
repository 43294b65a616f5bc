"""What fits on which card, and how long it takes: arithmetic only, no torch."""
