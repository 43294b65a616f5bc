"""The config.json of transformers: read as the library reads it, written so that it reads back."""
