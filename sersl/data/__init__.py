"""From a step number to a global batch of arrays."""
