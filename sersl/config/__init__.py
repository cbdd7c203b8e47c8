"""Every setting with its default, range and meaning, and the strict loader."""
