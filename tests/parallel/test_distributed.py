"""Joining a run of many processes: what cannot work is one sentence."""

import pytest

from sersl.core.errors import UserError
from sersl.parallel import distributed
from sersl.parallel.cluster import VARIABLES, Cluster, detect


@pytest.fixture
def clean(monkeypatch):
    for name in VARIABLES:
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


def test_initialize_when_the_number_is_beyond_the_count_then_says_so(clean):
    for name, value in zip(VARIABLES, ("localhost:1234", "2", "2"), strict=True):
        clean.setenv(name, value)
    with pytest.raises(UserError, match="SERSL_PROCESS_ID=2 is none of the 2 processes"):
        distributed.initialize()


GIVEN = dict(zip(VARIABLES, ("node7:1234", "16", "3"), strict=True))


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, Cluster("none")),
        (GIVEN, Cluster("variables SERSL_...", 16, 3, "node7:1234")),
        # sersl's own variables are told inside of a Slurm task too
        (
            {**GIVEN, "SLURM_NTASKS": "4", "SLURM_PROCID": "1"},
            Cluster("variables SERSL_...", 16, 3, "node7:1234"),
        ),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "1"}, Cluster("Slurm", 4, 1)),
        # a batch script has SLURM_NTASKS, but is no task of a step
        ({"SLURM_NTASKS": "4"}, Cluster("none")),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, Cluster("none")),
        (
            {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
            Cluster("Open MPI", 2, 1),
        ),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "2"}, Cluster("GKE", 4, 2)),
        (
            {
                "TPU_WORKER_HOSTNAMES": "a,b",
                "TPU_WORKER_ID": "1",
                "MEGASCALE_NUM_SLICES": "3",
                "MEGASCALE_SLICE_ID": "2",
            },
            Cluster("GKE", 6, 5),
        ),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, Cluster("none")),
    ],
)
def test_detect_when_given_an_environment_then_names_cluster_count_and_number(
    environment, found, tmp_path
):
    assert detect(environment, devices=tmp_path) == found


def test_detect_when_there_are_tpu_chips_then_says_so(tmp_path):
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()  # is there without chips, too
    assert detect({}, devices=tmp_path).name == "none"
    (tmp_path / "vfio" / "0").touch()
    assert detect({}, devices=tmp_path).name == "TPU VM"
