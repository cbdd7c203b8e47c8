"""Hugging Face folders: names, settings and import."""
