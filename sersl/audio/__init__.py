"""Room 2: decoding, resampling, prosody and features of audio."""
