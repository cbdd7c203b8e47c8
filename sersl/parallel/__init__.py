"""Processes, mesh, shardings and addressed randomness."""
