"""Compilation that is quick rather than its result, for the small models of these tests."""

import pytest


@pytest.fixture(autouse=True)
def _quick(quick_compilation):
    """Compiles quickly everywhere in this folder."""
