"""What verbs are made of: their shared options, their progress, and what a verb does when it is given something else."""
