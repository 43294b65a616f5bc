"""One family of stretches per file. Every module here is imported by `ropewalk.jobs.fit.family.families()`."""
