"""The training engine: state, step, optimizer and loop, for any task."""
