"""What measuring is made of: texts, passes, protocols, tasks, records, statistics."""
