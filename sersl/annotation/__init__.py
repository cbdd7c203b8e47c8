"""Annotators of emotion intensity and prosody, code books, and their sidecars."""
