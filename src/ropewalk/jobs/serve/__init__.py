"""Writing answers: one request after another or several together, on the command line or over HTTP."""
