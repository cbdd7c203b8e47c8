"""Frames to one vector per utterance."""
