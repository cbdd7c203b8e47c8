"""Room 7: emotion knowledge: annotators, their sidecars, and the frames they choose to hide."""
