"""The tests on a real Slurm are deselected, with a line, where it is not installed; not on CI."""

import os

from tests.launch.slurm_cluster import missing


def pytest_collection_modifyitems(config, items):
    if os.environ.get("CI") or not missing():
        return
    left_out = [item for item in items if item.get_closest_marker("slurm")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter):
    if missing() and not os.environ.get("CI"):
        terminalreporter.write_line(
            f"tests on a real Slurm were deselected: {', '.join(missing())} are not installed "
            "(Debian: apt-get install slurm-wlm munge)"
        )
