"""Room 5: processes, mesh and shardings."""
