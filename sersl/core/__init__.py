"""Errors, lengths, seeds, files and processes: standard library and NumPy only."""
