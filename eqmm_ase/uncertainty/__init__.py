"""What a model knows: its domain, how near atoms may come, and how far to trust it."""
