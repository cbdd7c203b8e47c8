"""The tests of the page are deselected, with a line, where there is no Chromium."""

from tests.release.serve import browser


def pytest_collection_modifyitems(config, items):
    if browser.find():
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter):
    if not browser.find():
        terminalreporter.write_line(
            "tests of the page of sersl serve were deselected: Chromium is not installed "
            "(Debian: apt-get install chromium)"
        )
