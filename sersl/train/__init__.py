"""Room 9: state, optimizer, step, loop and checkpoints."""
