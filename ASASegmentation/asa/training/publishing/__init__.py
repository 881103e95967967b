"""Export of finished runs as model folders with a card."""
