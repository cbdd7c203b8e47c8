"""What is measured beside the scores: calibration, selective prediction, groups of speakers."""
