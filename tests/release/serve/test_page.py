"""The page in Chromium, at the width of a phone and of a desktop.

SERSL_SCREENSHOTS=FOLDER keeps the screenshots.
"""

import os
import time
from pathlib import Path

import pytest
import soundfile

from tests.fake_speech import RATE, make_voice
from tests.release.serve import browser
from tests.release.serve.running import running

pytestmark = [pytest.mark.slow, pytest.mark.browser]
DRAWN = """(() => {
  const chart = document.getElementById("chart");
  const pixels = chart.getContext("2d").getImageData(0, 0, chart.width, chart.height).data;
  const colours = new Set();
  for (let i = 0; i < pixels.length; i += 4)
    if (pixels[i + 3]) colours.add(pixels[i] + "," + pixels[i + 1] + "," + pixels[i + 2]);
  return colours.size;
})()"""
# What sticks out to the right of the window.
TOO_WIDE = """[...document.querySelectorAll("body *")].filter((one) =>
  !one.closest(".scroll, .skip, [hidden]") && one.getBoundingClientRect().right > innerWidth + 1
).map((one) => one.outerHTML.slice(0, 80))"""
SMALL_TARGETS = """[...document.querySelectorAll("button, select, .file")].filter((one) =>
  one.offsetParent && one.getBoundingClientRect().height < 44).map((one) => one.id)"""
UNNAMED = """[...document.querySelectorAll("button, select, input, canvas")].filter((one) =>
  !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map((o) => o.id)"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running(tmp_path_factory.mktemp("page")) as served:
        yield served.address


def shot(tab, tmp_path, name):
    folder = Path(os.environ.get("SERSL_SCREENSHOTS", tmp_path))
    tab.screenshot(folder / f"{name}.png")
    assert (folder / f"{name}.png").stat().st_size > 5_000


@pytest.mark.parametrize("width", [390, 1280])
def test_page_when_a_file_is_chosen_then_emotions_are_drawn_over_time(address, tmp_path, width):
    soundfile.write(tmp_path / "a <b>.wav", make_voice(5.0), RATE)
    (tmp_path / "bad.wav").write_bytes(b"no audio at all")
    with browser.started(tmp_path / "profile") as tab:
        tab.open(address, width=width)
        tab.until("document.getElementById('model').textContent === 'model'")
        assert tab.value(TOO_WIDE) == tab.value(SMALL_TARGETS) == tab.value(UNNAMED) == []
        tab.give_file("#file", tmp_path / "a <b>.wav")
        tab.until("document.querySelectorAll('tbody tr').length === 7")
        tab.until("document.getElementById('status').textContent === 'a <b>.wav: 7 windows.'")
        tab.until(f"{DRAWN} > 3")
        assert "arousal" in tab.value("document.getElementById('summary').textContent")
        assert tab.value("document.getElementById('legend').textContent").endswith(
            "arousal, 0 to 1valence, 0 to 1"
        )
        assert tab.value("document.getElementById('chart').clientWidth") > 0.8 * min(width, 1152)
        assert tab.value(TOO_WIDE) == []
        shot(tab, tmp_path, f"file_{width}")
        tab.value("document.getElementById('chart').focus()")
        for _ in range(3):
            tab.press("ArrowRight")
        tab.until("document.getElementById('moment').textContent.startsWith('0.50 to 2.50 s')")
        assert not tab.problems()
        tab.give_file("#file", tmp_path / "bad.wav")
        tab.until("document.getElementById('error').textContent.includes('not audio')")


@pytest.mark.parametrize("width", [390, 1280])
def test_page_when_it_records_by_keyboard_then_answers_come_while_it_records(
    address, tmp_path, width
):
    soundfile.write(tmp_path / "voice.wav", make_voice(20.0), RATE)
    with browser.started(tmp_path / "profile", microphone=tmp_path / "voice.wav") as tab:
        tab.open(address, width=width)
        tab.until("document.getElementById('model').textContent === 'model'")
        tab.value("document.getElementById('hop').value = '1'")
        for _ in range(2):  # past the link to the results
            tab.press("Tab")
        assert tab.value("document.activeElement.id") == "record"
        tab.press("Enter")
        tab.until("document.getElementById('record').textContent === 'Stop'")
        tab.until("document.querySelectorAll('tbody tr').length >= 2")
        shot(tab, tmp_path, f"recording_{width}")
        assert tab.value("document.activeElement.id") == "record"
        tab.press("Enter")
        tab.until("document.getElementById('record').textContent === 'Record'", seconds=600)
        tab.until("document.getElementById('summary').textContent.includes('mean over')")
        tab.until(f"{DRAWN} > 3")
        tab.until("!document.getElementById('player').hidden")
        assert tab.value("document.getElementById('error').textContent") == ""
        assert tab.value(TOO_WIDE) == []
        rows = tab.value("document.querySelectorAll('tbody tr').length")
        time.sleep(1)
        assert tab.value("document.querySelectorAll('tbody tr').length") == rows
        shot(tab, tmp_path, f"recorded_{width}")
        assert not tab.problems()
