"""One engine, one file, which must also load without Ropewalk: the engine's own Python runs it, through ../worker.py.

TITLE: as people write it.  MODULE: what is imported.  PACKAGES: names it is installed under, for its version.
READS: "config.json" or "GGUF".  GET: how to get it, one sentence.  SECONDS: about what one small model takes, for progress.
score(model, ids): ln p of ids[1:], each given all before it; float32 or better, and no cache in less.
"""
