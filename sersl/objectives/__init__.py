"""Room 8: losses as pure functions of arrays."""
