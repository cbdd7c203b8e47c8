"""One parser per corpus, for the folder that its owners distribute."""
