"""Joining a run of many processes: what cannot work is one sentence."""

import pytest

from sersl.core.errors import UserError
from sersl.parallel import distributed


@pytest.fixture
def clean(monkeypatch):
    for name in distributed._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_initialize_when_a_variable_is_missing_then_it_is_named(clean):
    clean.setenv("SERSL_COORDINATOR", "localhost:1234")
    clean.setenv("SERSL_PROCESS_ID", "0")
    expected = "SERSL_COORDINATOR, SERSL_PROCESS_ID is set but SERSL_NUM_PROCESSES is not"
    with pytest.raises(UserError, match=expected):
        distributed.initialize()


def test_initialize_when_a_number_is_none_then_it_is_shown(clean):
    clean.setenv("SERSL_COORDINATOR", "localhost:1234")
    clean.setenv("SERSL_NUM_PROCESSES", "two")
    clean.setenv("SERSL_PROCESS_ID", "0")
    with pytest.raises(UserError, match=r"SERSL_NUM_PROCESSES and SERSL_PROCESS_ID: .*'two'"):
        distributed.initialize()


def test_initialize_when_the_address_has_no_port_then_it_is_shown(clean):
    clean.setenv("SERSL_COORDINATOR", "localhost")
    clean.setenv("SERSL_NUM_PROCESSES", "2")
    clean.setenv("SERSL_PROCESS_ID", "1")
    with pytest.raises(UserError, match="='localhost' is no address: write host:port"):
        distributed.initialize()
