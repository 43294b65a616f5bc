"""What runs inside another program."""
