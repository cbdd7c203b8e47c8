"""Ideas that change what a fine-tuning run learns from, each a group of settings."""
