"""The model that is part of the package."""
