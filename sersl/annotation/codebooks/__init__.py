"""Code books: k-means over frames, and the codes of whole corpora."""
