"""No cell of a CSV file is a formula, and every text comes back."""

import pytest

from sersl.core.cells import from_cell, to_cell

FORMULAS = ["=1+1", "+49", "-a.wav", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0"]


@pytest.mark.parametrize("text", FORMULAS)
def test_cell_when_it_would_be_a_formula_then_it_is_text_and_comes_back(text):
    assert to_cell(text) == f"'{text}"
    assert from_cell(to_cell(text)) == text


@pytest.mark.parametrize("text", ["", "a=b", "'quoted'", "'", "5", "a-b.wav", "''x"])
def test_cell_when_it_is_plain_then_it_stays(text):
    assert to_cell(text) == text
    assert from_cell(text) == text


@pytest.mark.parametrize("text", ["'=1", "''-x", "'+"])
def test_cell_when_the_text_looks_escaped_then_it_comes_back(text):
    assert from_cell(to_cell(text)) == text
