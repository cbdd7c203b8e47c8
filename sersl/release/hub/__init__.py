"""Models by name: download from the Hugging Face Hub or a mirror of it, and upload."""
