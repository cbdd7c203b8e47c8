"""Room 0: errors, the length arithmetic and addressed seeds. Standard library and numpy only."""
