"""Does every engine do what is written? Static on text, numeric on a live model, and two stacks side by side."""
