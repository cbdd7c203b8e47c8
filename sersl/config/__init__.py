"""Room 1: every setting with its default, and the door through which settings come in."""
