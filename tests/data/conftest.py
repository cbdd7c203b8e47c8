"""Two tiny prepared corpora, made once per run of the tests."""

import numpy as np
import pytest

from tests.data.doubles import prepare

LENGTHS = {
    "alpha": np.random.default_rng(1).integers(1700, 30000, 40),
    "beta": np.random.default_rng(2).integers(1700, 60000, 7),
}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for corpus, lengths in LENGTHS.items():
        prepare(folder, corpus, lengths, annotator="signal")
    return folder


@pytest.fixture(scope="session")
def lengths():
    return LENGTHS
