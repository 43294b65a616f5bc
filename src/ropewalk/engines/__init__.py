"""How programs spell RoPE scaling, and what each of them does with it: one file an engine."""
