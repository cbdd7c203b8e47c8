"""A user's own list of audio, in any of the supported formats."""
