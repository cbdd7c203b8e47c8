"""The version of sersl."""

__version__ = "0.1.0"
