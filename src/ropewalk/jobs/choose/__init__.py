"""`ropewalk choose`: which stretch for this model, decided by measurement within a budget."""
