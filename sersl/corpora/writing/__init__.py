"""Records, shards, Apache Beam and the quality report of a preparation."""
