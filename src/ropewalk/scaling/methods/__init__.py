"""One scaling method per file. Every module in this folder is imported by `ropewalk.scaling.method.methods()`."""
