"""What kubectl 1.37 tells of errors. Expectations come from kubectl's documentation."""

import pytest

from tests.clients.test_kubectl import KUBECTL

pytestmark = pytest.mark.xdist_group("live")


def test_a_field_that_does_not_exist_is_refused(live, namespace):
    """Strict validation names the field's path."""
    manifest = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: odd}
spec:
  replica: 3
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: nginx}]}
"""
    done = live.run(KUBECTL, "create", "-n", namespace, "-f", "-", stdin=manifest, code=1)
    assert 'unknown field "spec.replica"' in done.stderr


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("get", "pod", "nosuch"), 'pods "nosuch" not found'),
        (("get", "deploy", "nosuch"), 'deployments.apps "nosuch" not found'),
        (("create", "namespace", "default"), 'namespaces "default" already exists'),
        (("get", "widgets"), "the server doesn't have a resource type"),
        (("get", "pods", "--field-selector", "spec.nosuch=x"), "field label not supported"),
        (("get", "pods", "-l", "a in"), "unable to parse requirement"),
        (("logs", "nosuch"), "not found"),
        (("exec", "nosuch", "--", "true"), "not found"),
    ],
)
def test_errors_read_as_kubectl_users_know_them(live, argv, message):
    """Reasons and messages are upstream's; kubectl exits 1."""
    done = live.run(KUBECTL, *argv, code=1)
    assert message in done.stderr


def test_invalid_objects_are_refused_with_field_paths(live, namespace):
    """422 with the path of each wrong field."""
    manifest = """
apiVersion: v1
kind: Service
metadata: {name: bad}
spec:
  selector: {a: b}
  ports: [{port: 99999}]
"""
    done = live.run(KUBECTL, "create", "-n", namespace, "-f", "-", stdin=manifest, code=1)
    assert 'Service "bad" is invalid' in done.stderr
    assert "spec.ports[0].port: Invalid value: 99999" in done.stderr


def test_what_goes_wrong_with_a_pod_is_told_as_kubectl_users_know_it(live, namespace):
    """Crash loop, missing ConfigMap, bad image name, failing probes: status, events, errors."""
    n = ("-n", namespace)
    live.kubectl("run", "crash", "--image=busybox", *n, "--", "sh", "-c", "echo out; exit 3")
    live.kubectl("apply", *n, "-f", "-", stdin=TROUBLES)
    waiting = "jsonpath={{.status.containerStatuses[0].state.waiting.reason}}={}".format
    for pod, reason in (
        ("crash", "CrashLoopBackOff"),
        ("no-config", "CreateContainerConfigError"),
        ("bad-image", "InvalidImageName"),
    ):
        live.kubectl("wait", f"pod/{pod}", f"--for={waiting(reason)}", "--timeout=30s", *n)
        assert reason in live.kubectl("get", "pod", pod, *n)
    assert live.kubectl("logs", "crash", *n) == "out\n"
    live.kubectl("wait", "pod/unready", "--for=jsonpath={.status.phase}=Running", *n)
    live.kubectl("wait", "pod/relives", "--timeout=30s", *n,
                 "--for=jsonpath={.status.containerStatuses[0].restartCount}=1")  # fmt: skip
    events = live.kubectl("get", "events", *n)
    for told in (
        "Back-off restarting failed container crash",
        'configmap "nosuch" not found',
        "Readiness probe failed",
        "Liveness probe failed",
    ):
        assert told in events
    done = live.run(KUBECTL, "exec", "bad-image", *n, "--", "ls", code=1)
    assert 'container not found ("c")' in done.stderr
    done = live.run(KUBECTL, "logs", "bad-image", *n, code=1)
    assert "is waiting to start: InvalidImageName" in done.stderr


TROUBLES = """
apiVersion: v1
kind: Pod
metadata: {name: no-config}
spec:
  containers: [{name: c, image: nginx, envFrom: [{configMapRef: {name: nosuch}}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: bad-image}
spec:
  containers: [{name: c, image: ":::"}]
---
apiVersion: v1
kind: Pod
metadata: {name: unready}
spec:
  containers:
    - {name: c, image: nginx, readinessProbe: {httpGet: {port: 81}, periodSeconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: relives}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: c
      image: busybox
      command: [sh, -c, "touch /root/well; sleep 1; rm /root/well; sleep 600"]
      livenessProbe: {exec: {command: [cat, /root/well]}, periodSeconds: 1, failureThreshold: 1}
"""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("delete", "namespace", "kube-system"), "this namespace may not be deleted"),
        (("top", "node", "nosuch"), '"nosuch" not found'),
        (("scale", "deploy/nosuch", "--replicas=2"), 'deployments.apps "nosuch" not found'),
        (("rollout", "undo", "deploy/coredns", "-n", "kube-system", "--to-revision=9"), "9"),
        (("label", "node", "node-1", "a b=c"), 'Invalid value: "a b"'),
        (("expose", "deploy/coredns", "-n", "kube-system", "--port=0"), "Invalid value: 0"),
    ],
)
def test_what_is_not_modelled_or_not_possible_says_so(live, argv, message):
    """In one line, with what to use instead where there is something."""
    done = live.run(KUBECTL, *argv, code=1)
    assert message in done.stderr
    assert "page not found" not in done.stderr
