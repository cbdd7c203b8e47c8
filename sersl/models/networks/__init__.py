"""Published networks over spectrograms and over the frames of an encoder."""
