"""A webhook behind a Service in virtual time: what it says counts, and so does its silence."""

from pathlib import Path

import pytest
import yaml

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

WEBHOOK = Path(__file__).resolve().parents[2] / "examples/chaos/webhook.yaml"


@pytest.fixture(scope="module")
def shared():
    """One node, and agnhost's webhook of pods."""
    with VirtualCluster(ClusterSettings(nodes=1, time_profile="fast")) as made:
        made.boot()
        for body in yaml.safe_load_all(WEBHOOK.read_text()):
            made.apply(body)
        yield made


@pytest.fixture
def cluster(shared):
    """The webhook judges, and nothing is left of another story."""
    for pod in shared.pods("default"):
        if not pod.metadata.owner_references:
            shared.run(shared.cluster.client.delete(kinds.POD, pod.metadata.name, "default"))
    scaled(shared, 0)
    told_by(shared, "Fail")
    scaled(shared, 1)
    return shared


def told_by(cluster, policy):
    """Set the failurePolicy."""
    kind = kinds.named("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
    patch = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": policy}]
    json_patch = "application/json-patch+json"
    cluster.run(cluster.cluster.client.patch(kind, "guard", patch, content_type=json_patch))


def judges(cluster):
    slices = cluster.objects(kinds.ENDPOINT_SLICE, "default", "kubernetes.io/service-name=guard")
    return sum(end.conditions.ready is not False for piece in slices for end in piece.endpoints)


def scaled(cluster, replicas):
    """Make the webhook have so many pods, and wait until its Service knows."""
    patch = {"spec": {"replicas": replicas}}
    cluster.run(cluster.cluster.client.patch(kinds.DEPLOYMENT, "guard", patch, "default"))
    cluster.until(lambda: judges(cluster) == replicas, 30, f"{replicas} judge")


def refusal(cluster, name, **labels):
    """Create a pod; what is said against it, '' for nothing."""
    body = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    }
    try:
        cluster.run(cluster.cluster.client.create(kinds.POD, body, "default"))
    except ApiError as error:
        return error.message
    return ""


def test_no_pod_is_created_while_the_webhook_is_gone(cluster):
    """It denies, it allows; without it the call fails; when it is back all is as before."""
    assert refusal(cluster, "good") == ""
    assert refusal(cluster, "bad", **{"webhook-e2e-test": "webhook-disallow"}) == (
        'admission webhook "pods.guard.example.com" denied the request: '
        "the pod contains unwanted label;"
    )
    late = refusal(cluster, "late", **{"webhook-e2e-test": "wait-forever"})
    start = (
        'Internal error occurred: failed calling webhook "pods.guard.example.com": failed to call '
        'webhook: Post "https://guard.default.svc:443/pods?timeout=5s": '
    )
    assert late == f"{start}context deadline exceeded"
    scaled(cluster, 0)
    address = cluster.get(kinds.SERVICE, "guard").spec.cluster_ip
    down = f"{start}dial tcp {address}:443: connect: connection refused"
    assert refusal(cluster, "better") == down
    scaled(cluster, 1)
    assert refusal(cluster, "better") == ""


def test_who_refuses_the_connection_is_told_by_the_services_address(cluster):
    """As upstream, whose connection goes to that address and through kube-proxy's rules."""
    scaled(cluster, 0)
    assert refusal(cluster, "impostor", app="guard") == ""
    cluster.until(lambda: judges(cluster) == 1, 30, "a pod that does not listen is an endpoint")
    address = cluster.get(kinds.SERVICE, "guard").spec.cluster_ip
    assert refusal(cluster, "new").endswith(f"dial tcp {address}:443: connect: connection refused")


def test_failures_may_be_ignored(cluster):
    """failurePolicy Ignore: who does not answer has nothing against it."""
    scaled(cluster, 0)
    told_by(cluster, "Ignore")
    assert refusal(cluster, "bad", **{"webhook-e2e-test": "webhook-disallow"}) == ""
