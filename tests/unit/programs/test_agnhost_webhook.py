"""agnhost webhook: what its paths say of what they are asked.

Facts from kubernetes test/images/agnhost/webhook and test/e2e/apimachinery/webhook.go.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from podwire.client import http1
from tests.unit.programs.test_programs import AGNHOST, World, story

CERTS = {"/certs/tls.crt": b"x", "/certs/tls.key": b"x"}
FLAGS = ("webhook", "--tls-cert-file=/certs/tls.crt", "--tls-private-key-file=/certs/tls.key")


async def ask(world: World, path: str, body: Any, port: int = 443, **headers: str) -> Any:
    """The answer to a POST over modelled TLS."""
    stream = await world.net.connect("node-1", "client", "10.244.1.5", port, 1)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **headers}
    async with asyncio.timeout(10):
        return await http1.fetch(stream, "POST", path, "hook", given, data, tls_name="hook")


def review(resource: str, obj: Any, operation: str = "CREATE", group: str = "") -> Any:
    """An AdmissionReview of one request."""
    which = {"group": group, "version": "v1", "resource": resource}
    name = "oldObject" if operation == "DELETE" else "object"
    name_of = obj.get("metadata", {}).get("name", "")
    request = {"uid": "7", "operation": operation, "resource": which, name: obj, "name": name_of}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def data(**found: str) -> Any:
    return {"data": {key.replace("_", "-"): value for key, value in found.items()}}


def pod(*containers: str, name: str = "p", **labels: str) -> Any:
    named = {key.replace("_", "-"): value for key, value in labels.items()}
    made = [{"name": each} for each in containers]
    return {"metadata": {"name": name, "labels": named}, "spec": {"containers": made}}


CRD, BAD = "customresourcedefinitions", {"webhook_e2e_test": "webhook-disallow"}
KEPT = {"webhook_e2e_test": "webhook-nondeletable"}
# who is asked about what; whether it may be, and what is said or patched
ASKED: list[tuple[str, Any, bool, Any]] = [
    ("/always-deny", review("pods", pod()), False, "this webhook denies all requests"),
    ("/pods", review("pods", pod("a")), True, None),
    ("/pods", review("pods", pod("a", **BAD)), False, "the pod contains unwanted label;"),
    ("/pods", review("pods", pod("webhook-disallow", **BAD)), False,
     "the pod contains unwanted label; the pod contains unwanted container name;"),
    ("/pods", review("services", {}), False, "expect resource to be { v1 pods}"),
    ("/add-label", review("pods", {"metadata": {}}), True, ["/metadata/labels"]),
    ("/add-label", review("pods", pod(a="b")), True, ["/metadata/labels/added-label"]),
    ("/add-label", review("pods", pod(added_label="yes")), True, None),
    ("/mutating-pods", review("pods", pod("a", name="webhook-to-be-mutated")), True,
     ["/spec/initContainers"]),
    ("/mutating-pods", review("pods", pod("a")), True, None),
    ("/mutating-pods-sidecar", review("pods", pod("a")), True, ["/spec/containers/-"]),
    ("/mutating-pods-sidecar", review("pods", pod("webhook-added-sidecar")), True, None),
    ("/configmaps", review("configmaps", data(**BAD)), False,
     "the configmap contains unwanted key and value"),
    ("/configmaps", review("configmaps", data(**BAD), "DELETE"), True, None),
    ("/configmaps", review("configmaps", data(**KEPT), "DELETE"), False,
     "the configmap cannot be deleted because it contains unwanted key and value"),
    ("/mutating-configmaps", review("configmaps", data(mutation_start="yes")), True,
     ["/data/mutation-stage-1"]),
    ("/mutating-configmaps",
     review("configmaps", data(mutation_start="yes", mutation_stage_1="yes")), True,
     ["/data/mutation-stage-2"]),
    ("/custom-resource", review("things", data(**BAD)), False,
     "the custom resource contains unwanted data"),
    ("/mutating-custom-resource", review("things", data()), True, None),
    ("/crd", review(CRD, pod(**BAD), group="apiextensions.k8s.io"), False,
     "the crd contains unwanted label"),
    ("/crd", review(CRD, pod(), group="apiextensions.k8s.io"), True, None),
    ("/pods/attach", review("pods", {"metadata": {"name": "to-be-attached-pod"}, "stdin": True,
                                     "container": "container1"}, "CONNECT"), False,
     "attaching to pod 'to-be-attached-pod' is not allowed"),
]  # fmt: skip


def test_every_path_judges_as_upstreams() -> None:
    """By message, reason or patch; the answer names the question."""

    async def body(world: World) -> None:
        await world.start(AGNHOST, *FLAGS, "--sidecar-image=pause", files=CERTS)
        for path, asked, allowed, told in ASKED:
            answer = json.loads((await ask(world, path, asked)).body)
            assert (answer["apiVersion"], answer["kind"]) == (asked["apiVersion"], asked["kind"])
            response = answer["response"]
            assert (response["uid"], response["allowed"]) == ("7", allowed), path
            status = response.get("status", {})
            if isinstance(told, list):
                patch = json.loads(base64.b64decode(response["patch"]))
                assert [one["path"] for one in patch] == told
            else:
                assert status.get("message", status.get("reason")) == told, path
                assert "patch" not in response

    story(body)


def test_a_late_answer_takes_five_seconds_and_another_never_comes() -> None:
    """What tests of timeouts ask for."""

    async def body(world: World) -> None:
        await world.start(AGNHOST, *FLAGS, files=CERTS)
        began_ns = world.env.clock.monotonic_ns()
        answer = await ask(world, "/always-allow-delay-5s", review("pods", pod()))
        assert json.loads(answer.body)["response"]["allowed"] is True
        assert world.env.clock.monotonic_ns() - began_ns >= 5 * 10**9
        forever = review("pods", pod("a", webhook_e2e_test="wait-forever"))
        with pytest.raises(TimeoutError):
            await ask(world, "/pods", forever)

    story(body)


def test_what_is_no_review_is_told_so() -> None:
    """400 for what cannot be read, nothing for another content type, an end where Go panics."""

    async def body(world: World) -> None:
        _, container = await world.start(AGNHOST, *FLAGS, "--port", "8444", files=CERTS)
        assert (await ask(world, "/readyz", {}, 8444)).body == b"ok"
        assert (await ask(world, "/nope", {}, 8444)).status == 404
        for wrong in (b"{", b"[]", b'{"request": 7}', review("pods", pod()) | {"kind": "X"}):
            assert (await ask(world, "/pods", wrong, 8444)).status == 400
        plain = await ask(world, "/pods", {}, 8444, **{"Content-Type": "text/plain"})
        assert (plain.status, plain.body) == (200, b"")
        with pytest.raises((ConnectionError, http1.HttpError)):
            await ask(world, "/mutating-pods", review("services", {}), 8444)
        container.signal("TERM")
        assert await container.wait() == 143

    story(body)


def test_it_does_not_start_without_its_certificate() -> None:
    """As upstream's: fatal, with the file's name."""

    async def body(world: World) -> None:
        process, container = await world.start(AGNHOST, *FLAGS)
        assert await container.wait() == 255
        assert process.errors[-1].endswith("open /certs/tls.crt: no such file or directory")

    story(body)
