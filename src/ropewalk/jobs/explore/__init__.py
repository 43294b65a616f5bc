"""The explorer: one self-contained page that shows what each method does to the pairs of a model."""
