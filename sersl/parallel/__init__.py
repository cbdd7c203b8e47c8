"""Processes, mesh, shardings, and random numbers addressed by purpose."""
