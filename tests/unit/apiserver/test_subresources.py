"""status, scale, binding, log and exec."""

from __future__ import annotations

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver import podstreams
from podwire.apiserver.tables.shapes import chooser
from podwire.client.counters import Request, User

POD, DEPLOY = kinds.POD, kinds.DEPLOYMENT
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
MERGE = "application/merge-patch+json"


def deployment(name: str, replicas: int = 2) -> dict[str, object]:
    labels = {"app": name}
    containers = [{"name": "c", "image": "nginx"}]
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


def pod(name: str, *containers: str) -> dict[str, object]:
    listed = [{"name": c, "image": "nginx"} for c in containers or ("c",)]
    return {"metadata": {"name": name}, "spec": {"containers": listed}}


def binding(node: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": node}}


def test_status_changes_only_through_its_subresource_and_spec_only_without(simulate):
    """And only a changed spec makes a new generation."""

    async def story(w):
        body = {**deployment("web"), "status": {"replicas": 9}}
        made = await w.client.create(DEPLOY, body, "default")
        assert (made.status.replicas, made.metadata.generation) == (0, 1)
        both = {"spec": {"replicas": 5}, "status": {"replicas": 5}}
        one = await w.client.patch(DEPLOY, "web", both, "default", subresource="status")
        assert (one.spec.replicas, one.status.replicas, one.metadata.generation) == (2, 5, 1)
        both = {"spec": {"replicas": 7}, "status": {"replicas": 7}}
        two = await w.client.patch(DEPLOY, "web", both, "default")
        assert (two.spec.replicas, two.status.replicas, two.metadata.generation) == (7, 5, 2)

    simulate(story)


def test_scale_reads_and_sets_replicas(simulate):
    """kubectl scale patches it; the selector is text there."""

    async def story(w):
        await w.client.create(DEPLOY, deployment("web"), "default")
        path = DEPLOY.path("default", "web", "scale")
        scale = await w.json("GET", path)
        assert scale["kind"] == "Scale"
        assert scale["spec"] == {"replicas": 2}
        assert scale["status"] == {"replicas": 0, "selector": "app=web"}
        w.server.shapes.append(chooser(w.env.clock.now_ns))
        table = await w.json("GET", path, accept=TABLE)
        assert [column["name"] for column in table["columnDefinitions"]] == [
            "Name", "Desired", "Available", "Age",
        ]  # fmt: skip
        assert table["rows"][0]["cells"][:3] == ["web", 2, 0]
        patched = await w.json("PATCH", path, {"spec": {"replicas": 5}}, content_type=MERGE)
        assert patched["spec"]["replicas"] == 5
        scale["spec"]["replicas"] = 3
        assert (await w.raw("PUT", path, scale)).status == 409
        del scale["metadata"]["resourceVersion"]
        assert (await w.raw("PUT", path, scale)).status == 200
        after = await w.client.get(DEPLOY, "web", "default")
        assert (after.spec.replicas, after.metadata.generation) == (3, 3)
        bad = await w.json("PATCH", path, {"spec": {"replicas": -1}}, content_type=MERGE)
        assert "must be greater than or equal to 0" in bad["message"]

    simulate(story)


def test_a_scale_is_printed_with_what_is_desired_and_what_is_there(simulate):
    """kubectl get --subresource=scale asks for a Table; a metadata client gets metadata."""

    async def story(w):
        w.server.shapes.append(chooser(w.env.clock.now_ns))
        await w.client.create(DEPLOY, deployment("web"), "default")
        path = DEPLOY.path("default", "web", "scale")
        table = await w.json("GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        columns = [column["name"] for column in table["columnDefinitions"]]
        assert columns == ["Name", "Desired", "Available", "Age"]
        assert table["rows"][0]["cells"][:3] == ["web", 2, 0]
        shown = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        scale, partial = await w.json("GET", path), await w.json("GET", path, accept=shown)
        assert partial["kind"] == "PartialObjectMetadata"
        assert partial["metadata"] == scale["metadata"]

    simulate(story)


def test_a_pod_is_bound_once(simulate):
    """The second scheduler to decide is told so."""

    async def story(w):
        await w.client.create(POD, pod("a"), "default")
        path = POD.path("default", "a", "binding")
        assert (await w.raw("POST", path, binding("node-1"))).status == 201
        bound = await w.client.get(POD, "a", "default")
        assert bound.spec.node_name == "node-1"
        assert [c.type for c in bound.status.conditions] == ["PodScheduled"]
        error = await w.json("POST", path, binding("node-2"))
        assert error["reason"] == "Conflict"
        assert error["message"] == (
            'Operation cannot be fulfilled on pods/binding "a": '
            'pod a is already assigned to node "node-1"'
        )

    simulate(story)


def test_the_container_of_log_and_exec_must_be_clear(simulate):
    """With two containers one must be named, and it must exist."""

    async def story(w):
        await w.client.create(POD, pod("two", "a", "b"), "default")
        answer = await w.json("GET", POD.path("default", "two", "log"))
        assert answer["message"] == (
            "a container name must be specified for pod two, choose one of: [a b]"
        )
        answer = await w.json("GET", POD.path("default", "two", "log"), container="x")
        assert answer["message"] == "container x is not valid for pod two"
        assert (await w.raw("GET", POD.path("default", "two", "exec"))).status == 400

    simulate(story)


class Kubelets:
    """A kubelet that logs two lines and starts any command."""

    async def logs(self, node, namespace, pod, container, options):
        async def lines():
            yield f"{node}/{namespace}/{pod}/{container} tail={options.tail_lines}\n".encode()
            yield b"end\n"

        return lines()

    async def exec(self, node, namespace, pod, container, argv, tty):
        return (node, container, tuple(argv), tty)

    async def resolver(self, node, namespace, pod):
        raise LookupError(pod)


def test_logs_are_the_kubelets_bytes(simulate):
    """Streamed as plain text; an unscheduled pod has none."""

    async def story(w):
        w.server.kubelets = Kubelets()
        await w.client.create(POD, pod("a"), "default")
        path = POD.path("default", "a", "log")
        assert (await w.raw("GET", path)).stream is None
        await w.raw("POST", POD.path("default", "a", "binding"), binding("node-1"))
        answer = await w.raw("GET", path, tailLines="3")
        text = b"".join([frame.data async for frame in answer.stream])
        assert text == b"node-1/default/a/c tail=3\nend\n"
        assert answer.headers["content-type"] == "text/plain"
        assert (await w.raw("GET", path, tailLines="-1")).status == 422

    simulate(story)


def test_exec_reaches_the_kubelet_of_a_running_container(simulate):
    """And says what is missing otherwise; whether it runs, the kubelet knows."""

    async def story(w):
        w.server.kubelets = Kubelets()
        await w.client.create(POD, pod("a"), "default")
        query = (("command", "echo"), ("command", "hi"), ("stdin", "true"))

        def call(user=User("admin")):  # noqa: B008
            path = POD.path("default", "a", "exec")
            return w.server.authorized(Request("GET", path, query, user=user))

        def ask():
            return podstreams.target(w.server, call())

        assert "does not have a host assigned" in (await w.refused(ask())).message
        await w.raw("POST", POD.path("default", "a", "binding"), binding("node-1"))
        target = await ask()
        assert await podstreams.execute(w.server, target, ["echo", "hi"], tty=False) == (
            "node-1", "c", ("echo", "hi"), False,
        )  # fmt: skip
        with pytest.raises(ApiError, match="cannot get"):
            call(User("nobody", ("system:unauthenticated",)))

    simulate(story)


@pytest.mark.parametrize("subresource", ["exec", "attach", "portforward"])
def test_streams_want_an_upgrade_and_tell_what_else_is_wrong_first(simulate, subresource):
    """kubectl shows the answer to its last attempt."""

    async def story(w):
        path = POD.path("default", "a", subresource)

        async def ask():
            return await w.refused(w.client.send("POST", path, (("command", "ls"),)))

        assert (await ask()).message == 'pods "a" not found'
        await w.client.create(POD, pod("a"), "default")
        assert (await ask()).message == "pod a does not have a host assigned"
        await w.raw("POST", POD.path("default", "a", "binding"), binding("node-1"))
        assert (await ask()).message == "Upgrade request required"

    simulate(story)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        (
            {"sinceSeconds": "1", "sinceTime": "2026-01-01T00:00:00Z"},
            ": Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        ({"tailLines": "x"}, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            {"sinceTime": "x"},
            'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"',
        ),
    ],
)
def test_log_options_are_validated_in_upstreams_words(simulate, query, message):
    """422 with a cause, which kubectl prints; 400 for what cannot be read at all."""

    async def story(w):
        await w.client.create(POD, pod("a"), "default")
        path = POD.path("default", "a", "log")
        error = await w.refused(w.client.send("GET", path, tuple(query.items())))
        if error.code == 422:
            assert error.causes
            message_in_full = f'PodLogOptions "a" is invalid: {message}'
            assert error.message == message_in_full
        else:
            assert (error.code, error.message) == (400, message)

    simulate(story)
