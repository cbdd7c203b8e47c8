"""The training engine: state, step, optimizer and loop; it knows no task."""
