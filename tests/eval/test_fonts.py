"""Names in figures whose letters a font has, and those that none has."""

import pytest

from sersl.eval.figures import plots


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("złość", "złość"),
        ("\U00010380a", "\\U00010380a"),  # Ugaritic
        ("\U00010381a", "\\U00010381a"),
    ],
)
def test_label_when_no_font_has_its_letters_then_codes_that_differ(name, shown):
    assert plots.short_label(name) == shown


def test_figure_when_names_have_such_letters_then_drawn_without_a_warning(tmp_path, recwarn):
    names = ["生气", "\U00010380"]
    plots.speakers(tmp_path / "a.png", names=names, uar=[0.5, 0.25], overall=0.4, chance=0.25)
    assert (tmp_path / "a.png").stat().st_size > 1000 and not recwarn.list
