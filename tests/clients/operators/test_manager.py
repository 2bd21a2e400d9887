"""A controller-runtime manager with webhooks, manager/main.go, which the go command builds here.

``make sweep`` runs it: a build without a cache takes minutes.
"""

import base64
import socket
import subprocess
from contextlib import contextmanager

import pytest

from tests.clients import installed
from tests.clients.operators.street import HERE
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("operators")

HOOKS = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: manager}
webhooks:
  - name: judge.podwire.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    clientConfig: {caBundle: CA, url: "https://127.0.0.1:PORT/judge"}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
    rules:
      - {apiGroups: [podwire.example.com], apiVersions: [v1], resources: [lamps],
         operations: [CREATE, UPDATE]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: manager}
webhooks:
  - name: paint.podwire.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    clientConfig: {caBundle: CA, url: "https://127.0.0.1:PORT/paint"}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
    rules:
      - {apiGroups: [podwire.example.com], apiVersions: [v1], resources: [lamps],
         operations: [CREATE, UPDATE]}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The built manager."""
    built = tmp_path_factory.mktemp("manager") / "manager"
    return installed.go_program(HERE / "manager", built)


@contextmanager
def manager(street, program, tls, name, port):
    """The manager at work on a namespace; it ends well when the block ends."""
    (tls / "tls.crt").write_bytes((tls / "cert.pem").read_bytes())
    (tls / "tls.key").write_bytes((tls / "key.pem").read_bytes())
    told = {"CERTS": str(tls), "PORT": str(port), "NAMESPACE": street.namespace}
    with (street.folder / f"{name}.log").open("w") as log:
        running = subprocess.Popen(
            [program], cwd=street.folder, env={**street.env, **told}, stdout=log, stderr=log
        )
        try:
            yield running
        finally:
            running.terminate()
            running.wait(30)
    assert running.returncode == 0, street.log()


def free_port():
    """One that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_a_manager_reconciles_judges_and_hands_over(street, program, tls):
    """Owned object, status, finalizer, both webhooks; the next one leads when the first ends."""
    port = free_port()
    ca = base64.b64encode((tls / "ca.pem").read_bytes()).decode()
    hooks = HOOKS.replace("CA,", f"{ca},").replace("PORT", str(port))
    hooks = hooks.replace("NAMESPACE", street.namespace)
    data = ("get", "cm", "desk", "-o", "jsonpath={.data.watts}")
    with manager(street, program, tls, "first", port) as first:
        street.says("Starting workers", among="first.log")
        street.run("kubectl", "apply", "-f-", stdin=hooks)
        street.until_denied()
        assert "Warning: that is warm" in street.lamp("desk", watts=80)
        street.shows("desk", ".spec.colour", "white")
        street.shows("desk", ".status.configmap", "created")
        street.shows("desk", ".metadata.finalizers", '["podwire.example.com/manager"]')
        assert street.ask(*data) == "80"
        street.run("kubectl", "delete", "cm", "desk")
        until("the ConfigMap is made again", lambda: street.ask(*data) == "80")
        street.run(
            "kubectl", "delete", "validatingwebhookconfiguration,mutatingwebhookconfiguration",
            "manager",
        )  # fmt: skip
        with manager(street, program, tls, "second", free_port()) as second:
            street.says("ttempting to acquire leader lease", among="second.log")
            assert second.poll() is None
            assert "Starting workers" not in (street.folder / "second.log").read_text()
            first.terminate()
            street.says("Starting workers", among="second.log")
            street.lamp("desk", watts=10)
            street.shows("desk", ".status.configmap", "updated")
            street.run("kubectl", "delete", "lamp", "desk", "--timeout=30s")
            until("the ConfigMap is collected", lambda: not street.ask(*data))
