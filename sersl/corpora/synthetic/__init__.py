"""The embedded corpus: synthetic speech whose emotion is known exactly."""
