"""Room 3: corpora as TFDS builders, labels, protocols, and the embedded synthetic corpus."""
