"""Decoding, resampling, prosody, augmentation and log-mel features."""
