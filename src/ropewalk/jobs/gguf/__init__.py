"""A GGUF with a stretched window: the header is rewritten, the weights are copied as they are, and all of it can be undone."""
