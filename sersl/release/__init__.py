"""Room 11: released model folders and prediction."""
