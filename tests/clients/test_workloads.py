"""kubectl on rollouts of all three kinds: what a transcript of one command at a time leaves out.

Expectations come from the pages of kubernetes.io that each test names.
"""

import json

import pytest

from tests.clients.conftest import BIN

pytestmark = pytest.mark.xdist_group("live")

KUBECTL = str(BIN / "kubectl")
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
NEWER = "registry.k8s.io/e2e-test-images/agnhost:2.54"
IMAGE = "jsonpath={.items[*].spec.containers[0].image}"


def workload(kind, name, image=AGNHOST, **spec):
    """A manifest for kubectl's stdin."""
    labels = {"app": name}
    server = {"name": "app", "image": image, "args": ["pause"]}
    pod = {"containers": [server], "terminationGracePeriodSeconds": 1}
    made = {"selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod}, **spec}  # fmt: skip
    return json.dumps(
        {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": made}
    )


def test_a_surging_daemon_set_goes_forth_and_back(live, namespace):
    """tasks/manage-daemon: update, status, history of a revision, undo to one, restart."""
    n = ("-n", namespace)
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    body = workload("DaemonSet", "agent", minReadySeconds=1,
                    updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})  # fmt: skip
    live.kubectl("create", "-f", "-", *n, stdin=body)
    live.kubectl("rollout", "status", "ds/agent", "--timeout=60s", *n)
    live.kubectl("set", "image", "ds/agent", f"app={NEWER}", *n)
    told = live.kubectl("rollout", "status", "ds/agent", "--timeout=60s", *n)
    waiting = 'Waiting for daemon set "agent" rollout to finish: '
    assert f"{waiting}1 out of 3 new pods have been updated..." in told
    assert told.endswith('daemon set "agent" successfully rolled out\n')
    assert NEWER in live.kubectl("rollout", "history", "ds/agent", "--revision=2", *n)
    undone = live.kubectl("rollout", "undo", "ds/agent", "--to-revision=1", *n)
    assert undone == "daemonset.apps/agent rolled back\n"
    live.kubectl("rollout", "status", "ds/agent", "--timeout=60s", *n)
    assert live.kubectl("get", "pods", "-o", IMAGE, *n).split() == [AGNHOST] * 3
    history = live.kubectl("rollout", "history", "ds/agent", *n)
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["2", "3"]


def test_a_stateful_set_stops_at_its_partition(live, namespace):
    """tutorials/stateful-application/basic-stateful-set: staging an update; ordinals.start."""
    n = ("-n", namespace)
    rolling = {"partition": 2}
    body = workload("StatefulSet", "db", replicas=3, serviceName="db", ordinals={"start": 5},
                    updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})  # fmt: skip
    live.kubectl("create", "-f", "-", *n, stdin=body)
    live.kubectl("rollout", "status", "sts/db", "--timeout=60s", *n)
    live.kubectl("set", "image", "sts/db", f"app={NEWER}", *n)
    told = live.kubectl("rollout", "status", "sts/db", "--timeout=60s", *n)
    assert told.endswith("partitioned roll out complete: 1 new pods have been updated...\n")
    images = live.kubectl("get", "pods", "-o", IMAGE, *n).split()
    assert images == [AGNHOST, AGNHOST, NEWER]
    patch = '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0,"maxUnavailable":2}}}}'
    live.kubectl("patch", "sts", "db", "-p", patch, *n)
    told = live.kubectl("rollout", "status", "sts/db", "--timeout=60s", *n)
    assert told.endswith("partitioned roll out complete: 3 new pods have been updated...\n")
    names = "jsonpath={.items[*].metadata.name}"
    assert live.kubectl("get", "pods", "-o", names, *n) == "db-5 db-6 db-7"
    live.kubectl("scale", "sts/db", "--replicas=1", "--resource-version=1", *n, code=1)


def test_a_rollout_that_gets_nowhere_says_so_and_is_undone(live, namespace):
    """concepts/workloads/controllers/deployment: "Failed Deployment", and rolling back."""
    n = ("-n", namespace)
    body = workload("Deployment", "web", replicas=2, progressDeadlineSeconds=2)
    live.kubectl("create", "-f", "-", *n, stdin=body)
    live.kubectl("rollout", "status", "deploy/web", "--timeout=60s", *n)
    live.kubectl("set", "image", "deploy/web", "app=registry.invalid/no:such", *n)
    done = live.run(KUBECTL, "rollout", "status", "deploy/web", "--timeout=60s", *n, code=1)
    assert 'error: deployment "web" exceeded its progress deadline' in done.stderr
    status = json.loads(live.kubectl("get", "deploy", "web", "-o", "json", *n))["status"]
    reasons = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    assert reasons["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert reasons["Available"] == ("True", "MinimumReplicasAvailable")
    live.kubectl("rollout", "undo", "deploy/web", *n)
    live.kubectl("rollout", "status", "deploy/web", "--timeout=60s", *n)
    live.kubectl("wait", "--for=jsonpath={.status.terminatingReplicas}=0", "deploy/web", *n)


def test_a_no_execute_taint_evicts_who_does_not_tolerate_it(live, namespace):
    """concepts/scheduling-eviction/taint-and-toleration: at once, later, never."""
    n = ("-n", namespace)
    tolerated = {"key": "maintenance", "operator": "Exists", "effect": "NoExecute"}
    tolerations = {
        "leaves": [],
        "later": [{**tolerated, "tolerationSeconds": 2}],
        "stays": [tolerated],
    }
    for name, own in tolerations.items():
        overrides = {
            "spec": {"terminationGracePeriodSeconds": 1, "nodeName": "node-3", "tolerations": own}
        }
        live.kubectl("run", name, f"--image={AGNHOST}", f"--overrides={json.dumps(overrides)}", *n,
                     "--", "pause")  # fmt: skip
    live.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s", *n)
    try:
        live.kubectl("taint", "nodes", "node-3", "maintenance=now:NoExecute")
        live.kubectl("wait", "pod/leaves", "pod/later", "--for=delete", "--timeout=60s", *n)
        assert live.kubectl("get", "pods", "-o", "name", *n) == "pod/stays\n"
    finally:
        live.kubectl("taint", "nodes", "node-3", "maintenance-")
    live.kubectl("wait", "--for=condition=Ready", "node/node-3", "--timeout=60s")
