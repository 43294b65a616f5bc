"""One self-contained HTML page from records and plans; needs no model and no network."""
