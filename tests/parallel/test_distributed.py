"""Joining a run of many processes: what cannot work is one sentence."""

import http.server
import threading

import pytest

from sersl.core.errors import UserError
from sersl.parallel import distributed
from sersl.parallel.environment import JAX_VARIABLES, VARIABLES, Cluster, detect
from sersl.parallel.metadata import attribute


@pytest.fixture
def clean(monkeypatch):
    for name in (*VARIABLES, *JAX_VARIABLES):
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
    with pytest.raises(UserError, match="='localhost' is not an address: write host:port"):
        distributed.initialize()


def test_initialize_when_the_number_is_beyond_the_count_then_says_so(clean):
    for name, value in zip(VARIABLES, ("localhost:1234", "2", "2"), strict=True):
        clean.setenv(name, value)
    with pytest.raises(UserError, match="SERSL_PROCESS_ID=2 is not one of the 2 processes"):
        distributed.initialize()


GIVEN = dict(zip(VARIABLES, ("node7:1234", "16", "3"), strict=True))
TASK = {
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "gpu[007-010]",
    "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "1",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "PMIX_NAMESPACE": "prterun-here-17@1",
}
HYDRA = {"PMI_SIZE": "2", "PMI_RANK": "1", "MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"}
SLICES = {
    "TPU_WORKER_HOSTNAMES": "a,b",
    "TPU_WORKER_ID": "1",
    "MEGASCALE_NUM_SLICES": "3",
    "MEGASCALE_SLICE_ID": "2",
    "MEGASCALE_COORDINATOR_ADDRESS": "zero:8080",
}


def silent(name: str) -> str:
    """A machine without a metadata server."""
    return ""


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, Cluster("none")),
        (GIVEN, Cluster("variables SERSL_...", 16, 3, "node7:1234")),
        (
            dict(zip(JAX_VARIABLES, GIVEN.values(), strict=True)),
            Cluster("variables JAX_...", 16, 3, "node7:1234"),
        ),
        # sersl's own variables are told inside of a Slurm task too
        ({**GIVEN, **TASK}, Cluster("variables SERSL_...", 16, 3, "node7:1234")),
        (TASK, Cluster("Slurm", 4, 1, "gpu007:23458")),
        ({**TASK, "JAX_COORDINATOR_PORT": "99"}, Cluster("Slurm", 4, 1, "gpu007:99")),
        ({**TASK, "SERSL_COORDINATOR": "x:1"}, Cluster("Slurm", 4, 1, "x:1")),
        ({**TASK, "JAX_COORDINATOR_ADDRESS": "x:1"}, Cluster("Slurm", 4, 1, "x:1")),
        # a batch script is no task of a step, and neither is the one task of salloc
        (
            {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
            Cluster("none"),
        ),
        ({**TASK, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"}, Cluster("none")),
        # mpirun starts its helpers as tasks of a step
        ({**TASK, **OPEN_MPI}, Cluster("Open MPI", 2, 1, "localhost:22345")),
        (OPEN_MPI, Cluster("Open MPI", 2, 1, "localhost:22345")),
        ({**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, Cluster("Open MPI", 2, 1)),
        (HYDRA, Cluster("MPI", 2, 1)),
        ({**HYDRA, "SERSL_COORDINATOR": "x:1"}, Cluster("MPI", 2, 1, "x:1")),
        (
            {"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "2"},
            Cluster("GKE", 4, 2, "a:8476"),
        ),
        (
            {"TPU_PROCESS_ADDRESSES": "a:8471,b:8471", "TPU_WORKER_ID": "0"},
            Cluster("GKE", 2, 0, "a:8476"),
        ),
        (SLICES, Cluster("GKE", 6, 5, "zero:8476")),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, Cluster("none")),
    ],
)
def test_detect_when_given_an_environment_then_names_cluster_place_and_address(
    environment, found, tmp_path
):
    assert detect(environment, devices=tmp_path, ask=silent) == found


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n1,n2", "n1"), ("a[3,5-9],b", "a3"), ("rack1-gpu[007-010]", "rack1-gpu007")],
)
def test_detect_when_in_a_slurm_step_then_the_first_node_is_the_address(nodes, first, tmp_path):
    found = detect({**TASK, "SLURM_STEP_NODELIST": nodes}, devices=tmp_path)
    assert found.host == first


@pytest.mark.parametrize(
    ("changes", "gpus"),
    [
        # two tasks on each of two nodes, all GPUs seen by both: each takes its half
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, (2, 3)),
        ({}, (1,)),  # the two device files
        ({"CUDA_VISIBLE_DEVICES": "3"}, None),  # its own
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_PER_TASK": "2"}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "JAX_LOCAL_DEVICE_IDS": "0"}, None),
        ({"CUDA_VISIBLE_DEVICES": ""}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_STEP_TASKS_PER_NODE": "3,1"}, None),
    ],
)
def test_detect_when_tasks_share_a_node_then_they_divide_its_gpus(changes, gpus, tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / name).touch()
    shared = {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_LOCALID": "1"}
    assert detect({**TASK, **shared, **changes}, devices=tmp_path).gpus == gpus


def test_initialize_when_nobody_tells_where_the_first_is_then_says_what_to_set(clean):
    for name, value in HYDRA.items():
        clean.setenv(name, value)
    expected = "MPI does not give process 1 of 2 the address of process 0: set SERSL_COORDINATOR="
    with pytest.raises(UserError, match=expected):
        distributed.initialize()


def test_detect_when_only_an_address_is_given_then_the_others_are_asked_for(tmp_path):
    with pytest.raises(UserError, match="JAX_COORDINATOR_ADDRESS is set but JAX_NUM_PROCESSES, "):
        detect({"JAX_COORDINATOR_ADDRESS": "x:1"}, devices=tmp_path)


def test_detect_when_there_are_tpu_chips_then_says_so(tmp_path):
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()  # is there without chips, too
    assert detect({}, devices=tmp_path, ask=silent) == Cluster("none")
    (tmp_path / "vfio" / "0").touch()
    assert detect({}, devices=tmp_path, ask=silent) == Cluster("TPU VM")
    pod = {"TPU_WORKER_HOSTNAMES": "localhost"}
    assert detect(pod, devices=tmp_path, ask=None) == Cluster("none")


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (
            {"worker-network-endpoints": "10.0.0.1,10.0.0.2"},
            Cluster("TPU VM", 2, 1, "10.0.0.1:8476"),
        ),
        (
            {"worker-network-endpoints": "w-0:0:10.0.0.1,w-1:1:10.0.0.2"},
            Cluster("TPU VM", 2, 1, "10.0.0.1:8476"),
        ),
        ({"worker-network-endpoints": "10.0.0.1"}, Cluster("TPU VM")),
        (
            {
                "worker-network-endpoints": "10.0.1.1,10.0.1.2",
                "tpu-env": "ZONE: 'z'\nMEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '1'\n"
                "MEGASCALE_COORDINATOR_ADDRESS: '10.0.0.1:8080'",
            },
            Cluster("TPU VM", 4, 3, "10.0.0.1:8476"),
        ),
    ],
)
def test_detect_when_on_a_tpu_vm_then_queries_the_metadata_server(told, found, tmp_path):
    (tmp_path / "accel0").touch()
    told = {"agent-worker-number": "1", **told}
    assert detect({}, devices=tmp_path, ask=lambda name: told.get(name, "")) == found


class Metadata(http.server.BaseHTTPRequestHandler):
    """Answers as the metadata server does, to who says that he means it."""

    def do_GET(self):
        path = "/computeMetadata/v1/instance/attributes/agent-worker-number"
        known = self.path == path and self.headers["Metadata-Flavor"] == "Google"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(b"3\n" if known else b"not found")

    def log_message(self, *_):
        """Says nothing."""


def test_attribute_when_queried_then_is_that_of_the_server_or_empty(monkeypatch):
    server = http.server.HTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{server.server_port}")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # is not asked
    monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)
    ask = attribute.__wrapped__  # without the memory of answers
    assert ask("agent-worker-number") == "3"
    assert ask("tpu-env") == ""
    server.shutdown()
    server.server_close()
    assert ask("agent-worker-number") == ""
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("GCE_METADATA_IP", "is not looked at")
    assert ask("agent-worker-number") == ""


@pytest.mark.parametrize(("silence", "heartbeat"), [(45, 100), (300, 600)])
def test_initialize_when_jax_cannot_join_then_one_sentence_and_jax_would_outwait_the_watchdog(
    clean, silence, heartbeat
):
    given = {}

    def refuse(*arguments, **options):
        given.update(options)
        raise RuntimeError("DEADLINE_EXCEEDED")

    clean.setattr(distributed.jax.distributed, "initialize", refuse)
    for name, value in zip(VARIABLES, ("localhost:0", "1", "0"), strict=True):
        clean.setenv(name, value)
    with pytest.raises(UserError, match=r"process 0 of 1 on .* could not open the coordinator"):
        distributed.initialize(timeout_seconds=7, host_timeout_seconds=silence)
    assert given["heartbeat_timeout_seconds"] == heartbeat
