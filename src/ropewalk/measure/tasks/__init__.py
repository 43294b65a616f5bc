"""One retrieval task, or one family of them, per file. Every module here is imported by `evaluate.task.tasks()`."""
