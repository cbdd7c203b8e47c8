"""The JobSet manifests: every field is a published one, of its type; and the script of a pod."""

import os
import signal
import subprocess
import time

import pytest
import yaml

from tests.tiny_runs import ROOT

MANIFESTS = sorted((ROOT / "launch" / "gke").glob("*.yaml"))

# The published fields that a training manifest may use, as in the CustomResourceDefinition
# jobsets.jobset.x-k8s.io v1alpha2 and the Kubernetes API batch/v1 and v1: {field: type}, "!" marks
# those that must be there, a tuple lists the allowed words, [x] is a list and {"*": x} a map.
NAMES = {"*": str}
META = {"name!": str, "labels": NAMES, "annotations": NAMES, "namespace": str}
SOURCE = {
    "fieldRef": {"fieldPath!": str},
    "secretKeyRef": {"name!": str, "key!": str, "optional": bool},
}
ENV = {"name!": str, "value": str, "valueFrom": SOURCE}
CONTAINER = {
    "name!": str,
    "image!": str,
    "command": [str],
    "args": [str],
    "env": [ENV],
    "ports": [{"containerPort!": int, "name": str, "protocol": ("TCP", "UDP", "SCTP")}],
    "resources": {"limits": {"*": (int, str)}, "requests": {"*": (int, str)}},
    "volumeMounts": [{"name!": str, "mountPath!": str, "readOnly": bool, "subPath": str}],
    "workingDir": str,
}
VOLUME = {
    "name!": str,
    "emptyDir": {"medium": str, "sizeLimit": str},
    "persistentVolumeClaim": {"claimName!": str, "readOnly": bool},
}
POD = {
    "containers!": [CONTAINER],
    "restartPolicy!": ("Never", "OnFailure"),
    "terminationGracePeriodSeconds": int,
    "nodeSelector": NAMES,
    "serviceAccountName": str,
    "tolerations": [{"key": str, "operator": ("Exists", "Equal"), "value": str, "effect": str}],
    "volumes": [VOLUME],
}
ON_EXIT = {"containerName": str, "operator!": ("In", "NotIn"), "values!": [int]}
JOB = {
    "parallelism": int,
    "completions": int,
    "completionMode": ("Indexed", "NonIndexed"),
    "backoffLimit": int,
    "activeDeadlineSeconds": int,
    "podFailurePolicy": {
        "rules!": [{"action!": ("FailJob", "FailIndex", "Ignore", "Count"), "onExitCodes": ON_EXIT}]
    },
    "template!": {"metadata": META, "spec!": POD},
}
JOBSET = {
    "apiVersion!": ("jobset.x-k8s.io/v1alpha2",),
    "kind!": ("JobSet",),
    "metadata!": META,
    "spec!": {
        "coordinator": {"replicatedJob!": str, "jobIndex": int, "podIndex": int},
        "failurePolicy": {
            "maxRestarts": int,
            "restartStrategy": ("Recreate", "BlockingRecreate", "InPlaceRestart"),
            "rules": [
                {
                    "name!": str,
                    "action!": (
                        "FailJobSet",
                        "RestartJobSet",
                        "RestartJobSetAndIgnoreMaxRestarts",
                    ),
                    "onJobFailureReasons": [str],
                    "onJobFailureMessagePatterns": [str],
                    "targetReplicatedJobs": [str],
                }
            ],
        },
        "network": {
            "enableDNSHostnames": bool,
            "publishNotReadyAddresses": bool,
            "subdomain": str,
        },
        "replicatedJobs!": [
            {"name!": str, "replicas": int, "template!": {"metadata": META, "spec!": JOB}}
        ],
        "successPolicy": {"operator!": ("All", "Any"), "targetReplicatedJobs": [str]},
        "suspend": bool,
        "ttlSecondsAfterFinished": int,
    },
}


def problems(value, schema, where: str = "") -> list[str]:
    """Lists what a manifest says that is not published, is missing, or is of another type."""
    if isinstance(schema, type):
        right = isinstance(value, schema) and (schema is bool or not isinstance(value, bool))
        return [] if right else [f"{where}: {value!r} is no {schema.__name__}"]
    if isinstance(schema, tuple):
        allowed = any(isinstance(value, x) if isinstance(x, type) else value == x for x in schema)
        return [] if allowed else [f"{where}: {value!r} is none of {schema}"]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{where}: no list"]
        return [p for i, v in enumerate(value) for p in problems(v, schema[0], f"{where}[{i}]")]
    if not isinstance(value, dict):
        return [f"{where}: no mapping"]
    if "*" in schema:
        return [p for name, v in value.items() for p in problems(v, schema["*"], f"{where}.{name}")]
    known = {name.rstrip("!"): inner for name, inner in schema.items()}
    found = [
        f"{where}.{name}: missing" for name in known if f"{name}!" in schema and name not in value
    ]
    for name, inner in value.items():
        if name not in known:
            found.append(f"{where}.{name}: not a published field")
        else:
            found += problems(inner, known[name], f"{where}.{name}")
    return found


def load(path) -> dict:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifest_when_read_then_has_published_fields_only(path):
    assert problems(load(path), JOBSET) == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifest_when_read_then_its_numbers_and_names_agree(path):
    spec = load(path)["spec"]
    (jobs,) = spec["replicatedJobs"]
    job = jobs["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert int(env["JOBS"]) == jobs["replicas"]
    assert int(env["PODS"]) == job["parallelism"] == job["completions"]
    assert job["completionMode"] == "Indexed" and job["backoffLimit"] == 0
    assert {"JOBSET_NAME", "JOB_NAME", "JOB_INDEX", "POD_INDEX"} <= env.keys()
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert rule["onExitCodes"]["values"] == [2] and pod["restartPolicy"] == "Never"
    assert (ROOT / container["command"][0]).stat().st_mode & 0o100
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in pod["volumes"]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda m: m["spec"].update(replicas=2), ".spec.replicas: not a published field"),
        (lambda m: m["spec"].pop("replicatedJobs"), ".spec.replicatedJobs: missing"),
        (lambda m: m["spec"]["failurePolicy"].update(maxRestarts="3"), "'3' is no int"),
        (lambda m: m.update(kind="Job"), ".kind: 'Job' is none of ('JobSet',)"),
    ],
)
def test_manifest_when_it_has_a_mistake_then_it_is_found(change, problem):
    manifest = load(MANIFESTS[0])
    change(manifest)
    (found,) = problems(manifest, JOBSET)
    assert problem in found


@pytest.fixture
def pod(tmp_path):
    """Runs the script of a pod with a `sersl` that writes what it was given and does as told."""
    fake = tmp_path / "bin" / "sersl"
    fake.parent.mkdir()

    def start(act: str, *words: str):
        fake.write_text(f'#!/usr/bin/env bash\nenv >"{tmp_path}/env"\necho "$@"\n{act}\n')
        fake.chmod(0o755)
        variables = {
            "JOBSET_NAME": "sersl-pretrain",
            "JOB_NAME": "workers",
            "JOBS": "2",
            "PODS": "4",
            "JOB_INDEX": "1",
            "POD_INDEX": "3",
            "PATH": f"{fake.parent}:{os.environ['PATH']}",
        }
        return subprocess.Popen(
            [ROOT / "launch" / "gke" / "task.sh", *words],
            env=variables,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def test_pod_when_started_then_knows_its_place_in_the_run(pod, tmp_path):
    process = pod("exit 2", "pretrain", "--workdir", str(tmp_path))
    assert process.communicate()[0] == f"pretrain --workdir {tmp_path}\n"
    assert process.returncode == 2
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert env["SERSL_COORDINATOR"] == "sersl-pretrain-workers-0-0.sersl-pretrain:8476"
    assert (env["SERSL_NUM_PROCESSES"], env["SERSL_PROCESS_ID"]) == ("8", "7")


def test_pod_when_its_node_is_taken_away_then_saves_and_fails_so_that_it_starts_again(
    pod, tmp_path
):
    save = f"sleep 0.5; echo 7 >'{tmp_path}/stopped'; exit 0"
    act = f'trap "{save}" TERM; echo up; while true; do sleep 0.1; done'
    process = pod(act, "pretrain", f"--workdir={tmp_path}")
    assert process.stdout.readline() and process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    assert process.wait(timeout=20) == 75
    assert time.monotonic() - begin >= 0.5


def test_pod_when_the_run_is_done_then_succeeds(pod, tmp_path):
    assert pod("exit 0", "pretrain", "--workdir", str(tmp_path)).wait(timeout=20) == 0
