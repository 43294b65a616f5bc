"""The command line: one module per verb, each with a `run` function. Adding a file here adds the verb."""
