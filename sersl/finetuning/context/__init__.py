"""Training with the context of dialogues."""
