"""The one reader of tables and lists, for manifests, corpora and protocols alike."""
