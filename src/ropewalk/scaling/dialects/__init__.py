"""How each program spells a rotary embedding: dict in, dict out. Other people's names live here and nowhere else."""
