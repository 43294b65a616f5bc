"""A GGUF as a model: its header as a config, its tokenizer, and its weights dequantised into a checkpoint that is kept."""
