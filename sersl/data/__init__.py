"""Room 4: from a step number to a global batch of arrays."""
