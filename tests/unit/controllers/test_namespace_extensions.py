"""What extension servers keep in a namespace that is being deleted, and when they do not tell."""

import msgspec

from podwire.api import kinds
from podwire.api.views import Namespace
from podwire.client.api import Client
from podwire.client.counters import Frame, Request, Response
from podwire.controllers.namespace import core, extensions

WARDLE = "/apis/wardle.example.com/v1"


class Answers:
    """Counter 1 of a server that has these answers."""

    def __init__(self, answers: dict[str, Response]) -> None:
        self.answers = answers

    async def send(self, request: Request) -> Response:
        return self.answers[request.path]


def told(**body):
    return Response(200, msgspec.json.encode(body))


def service(version, *, available=True, group="wardle.example.com"):
    conditions = [{"type": "Available", "status": str(available)}]
    spec = {"group": group, "version": version, "service": {"name": "api"}}
    return {"metadata": {"name": version}, "spec": spec, "status": {"conditions": conditions}}


def resource(name, verbs=("delete", "list"), **more):
    return {"name": name, "kind": name.title(), "namespaced": True, "verbs": verbs, **more}


async def test_what_can_be_deleted_is_found_once_and_who_is_away_is_named():
    """Local APIServices count for nothing; a resource of two versions is listed in the first."""
    local = {"metadata": {"name": "v1.apps"}, "spec": {"group": "apps", "version": "v1"}}
    services = [
        local, service("v1"), service("v1beta1"), service("v1", available=False, group="a.b"),
        service("v1", group="garbage"), service("v1", group="broken"),
    ]  # fmt: skip
    first = [
        resource("flunders"), resource("flunders/status"), resource("read", ["list"]),
        resource("wide", namespaced=False),
    ]  # fmt: skip
    api = Answers({
        kinds.API_SERVICE.path(): told(items=services),
        WARDLE: told(resources=first),
        f"{WARDLE}beta1": told(resources=[resource("flunders"), resource("fischers")]),
        "/apis/garbage/v1": Response(200, b"<html>"),
        "/apis/broken/v1": Response(503, b"service unavailable\n"),
    })  # fmt: skip
    found = await extensions.discovered(Client(api))
    assert [kind.path("ns") for kind in found.kinds] == [
        f"{WARDLE}/namespaces/ns/flunders", f"{WARDLE}beta1/namespaces/ns/fischers",
    ]  # fmt: skip
    assert found.failing["a.b/v1"] == "stale GroupVersion discovery: a.b/v1"
    assert found.failing.keys() == {"a.b/v1", "garbage/v1", "broken/v1"}


async def test_long_answers_are_read_to_their_end():
    """They come as frames."""

    async def frames():
        yield Frame(b'{"items": [{"metadata": {"name": "a"')
        yield Frame(b'}}], "metadata": {"resourceVersion": "none"}}')

    kind = extensions._kind(
        extensions._Spec("wardle.example.com", "v1"), extensions._Resource("flunders", "Flunder")
    )
    answer = Response(200)
    answer.stream = frames()
    api = Answers({f"{WARDLE}/namespaces/ns/flunders": answer})
    assert [item.metadata.name for item in await extensions.held(Client(api), kind, "ns")] == ["a"]


def test_a_namespace_says_why_it_does_not_end():
    """In upstream's words; they go when the reason goes."""
    metadata = {"name": "stuck", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    namespace = msgspec.convert({"metadata": metadata, "spec": {}}, Namespace)
    why = {"b/v1": "stale GroupVersion discovery: b/v1", "a/v1": "EOF"}
    (patch,) = core.report(namespace, [], 0, core.Failures(why, ["no", "never"]))
    found = {c["type"]: c for c in patch.patch["status"]["conditions"]}
    failure = found["NamespaceDeletionDiscoveryFailure"]
    assert (failure["status"], failure["reason"]) == ("True", "DiscoveryFailed")
    assert failure["message"] == (
        "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of "
        "server APIs: a/v1: EOF, b/v1: stale GroupVersion discovery: b/v1"
    )
    content = found["NamespaceDeletionContentFailure"]
    assert content["message"] == "Failed to delete all resource types, 2 remaining: never, no"
    (patch,) = core.report(namespace, [], 0)
    assert {c["status"] for c in patch.patch["status"]["conditions"]} == {"False"}
