"""Corpora as TFDS builders: labels, parsers, manifests, protocols and record writing."""
