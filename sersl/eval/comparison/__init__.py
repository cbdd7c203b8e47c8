"""Several runs side by side: one table, paired differences, learning curves, corpora."""
