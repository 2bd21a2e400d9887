"""Answers in the encoding that a client prefers: protobuf, YAML, JSON; what nobody can have."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from podwire.api import kinds, protobuf, schema, structure
from podwire.api.view import JSON
from podwire.apiserver.encodings import as_yaml
from podwire.apiserver.negotiation import Accepted, negotiate
from podwire.client.counters import Request, Response, User

ADMIN = User("admin", ("system:masters", "system:authenticated"))
PB = "application/vnd.kubernetes.protobuf"
PATH = "/api/v1/namespaces/default/configmaps"


def read(body: bytes) -> JSON:
    """An object of an envelope."""
    api_version, kind, message = protobuf.unwrap(body)
    struct = schema.type_of_gvk(api_version, kind)
    assert struct is not None
    decoded = protobuf.decode(struct, message)
    return {**structure.check(struct, decoded)[0], "apiVersion": api_version, "kind": kind}


def records(data: bytes) -> list[tuple[int, int, Any]]:
    """The raw fields of a message."""
    return protobuf._records(data)


def read_list(body: bytes) -> tuple[str, list[JSON], JSON]:
    """Kind, items and metadata of a list's envelope."""
    api_version, kind, message = protobuf.unwrap(body)
    struct = schema.type_of_gvk(api_version, kind.removesuffix("List"))
    assert struct is not None
    found = records(message)
    meta = protobuf.decode(schema.type_named("meta.v1.ListMeta"), found[0][2])
    items = [
        structure.check(struct, protobuf.decode(struct, value))[0]
        for number, _, value in found
        if number == 2
    ]
    return kind, items, meta


async def event(stream: Any) -> tuple[str, JSON]:
    """The next frame of a protobuf watch as type and object."""
    frame = (await anext(stream)).data
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    (_, _, kind), (_, _, raw) = records(frame[4:])
    return kind.decode(), read(records(raw)[0][2])


def told(response: Response) -> tuple[int, str]:
    return response.status, response.headers["content-type"]


def test_an_object_and_a_list_come_as_protobuf(simulate):
    """The same content as in JSON, resourceVersion included."""

    async def story(w):
        made = await w.raw("POST", PATH, {"metadata": {"name": "a"}, "data": {"k": "v"}}, accept=PB)
        assert told(made) == (201, PB)
        plain = await w.json("GET", f"{PATH}/a")
        assert read(made.body) == plain
        assert read((await w.raw("GET", f"{PATH}/a", accept=f"{PB},*/*")).body) == plain
        listed = await w.json("GET", PATH)
        kind, items, meta = read_list((await w.raw("GET", PATH, accept=PB)).body)
        assert kind == "ConfigMapList"
        assert meta["resourceVersion"] == listed["metadata"]["resourceVersion"]
        assert items == [
            {k: v for k, v in item.items() if k not in {"kind", "apiVersion"}}
            for item in listed["items"]
        ]

    simulate(story)


def test_a_watch_comes_as_framed_events(simulate):
    """Added, bookmark at the end of the initial state, modified, deleted."""

    async def story(w):
        await w.config_map("a")
        response = await w.raw(
            "GET", PATH, accept=f"{PB};stream=watch", watch="true", sendInitialEvents="true",
            resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true",
        )  # fmt: skip
        assert told(response) == (200, f"{PB};stream=watch")
        kind, obj = await event(response.stream)
        assert (kind, obj["metadata"]["name"]) == ("ADDED", "a")
        kind, obj = await event(response.stream)
        assert (kind, obj["kind"]) == ("BOOKMARK", "ConfigMap")
        assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await w.client.delete(kinds.CONFIG_MAP, "a", "default")
        kind, obj = await event(response.stream)
        assert (kind, obj["data"]) == ("DELETED", {"k": "a"})

    simulate(story)


def test_watchers_share_one_encoding(simulate):
    """The object is encoded once, whoever asks how often."""

    async def story(w):
        streams = [
            (await w.raw("GET", PATH, accept=PB, watch="true")).stream for _ in range(2)
        ]  # fmt: skip
        await w.config_map("a")
        one, other = [await anext(stream) for stream in streams]
        assert one is other
        entry = w.server.caches.of(kinds.CONFIG_MAP).get("default", "a")
        message = entry.message
        assert message is not None
        await w.raw("GET", PATH, accept=PB)
        assert entry.message is message

    simulate(story)


def test_a_watch_that_is_too_late_is_told_in_its_encoding(simulate):
    """An ERROR event about a Status."""

    async def story(w):
        w.server.caches.of(kinds.CONFIG_MAP).floor = 100
        w.server.caches.revision = 200
        response = await w.raw("GET", PATH, accept=PB, watch="true", resourceVersion="5")
        kind, obj = await event(response.stream)
        assert (kind, obj["kind"], obj["code"]) == ("ERROR", "Status", 410)
        w.server.caches.revision = 5

    simulate(story)


def test_errors_and_other_answers_come_as_asked_too(simulate):
    """Status of a failure and of a deletion."""

    async def story(w):
        missing = await w.raw("GET", f"{PATH}/x", accept=f"{PB},application/json")
        assert told(missing) == (404, PB)
        assert read(missing.body)["message"] == 'configmaps "x" not found'
        await w.config_map("a")
        gone = await w.raw("DELETE", f"{PATH}/a", accept=PB)
        assert read(gone.body)["details"]["name"] == "a"

    simulate(story)


def test_metadata_comes_as_protobuf(simulate):
    """What metadata informers (garbage collectors) ask for first."""

    async def story(w):
        await w.config_map("a", labels={"x": "y"})
        for version in ("v1", "v1beta1"):
            accept = f"{PB};as=PartialObjectMetadataList;g=meta.k8s.io;v={version}"
            response = await w.raw("GET", PATH, accept=accept)
            kind, items, _ = read_list(response.body)
            assert kind == "PartialObjectMetadataList"
            assert items[0]["metadata"]["labels"] == {"x": "y"}
            accept = f"{PB};as=PartialObjectMetadata;g=meta.k8s.io;v={version}"
            obj = read((await w.raw("GET", f"{PATH}/a", accept=accept)).body)
            assert (obj["apiVersion"], obj["kind"]) == (
                f"meta.k8s.io/{version}", "PartialObjectMetadata",
            )  # fmt: skip

    simulate(story)


def test_yaml_is_the_same_object(simulate):
    """Names in order, as upstream prints them."""

    async def story(w):
        await w.config_map("a")
        response = await w.raw("GET", f"{PATH}/a", accept="application/yaml")
        assert told(response) == (200, "application/yaml")
        text = response.body.decode()
        assert text.startswith("apiVersion: v1\ndata:\n  k: a\nkind: ConfigMap\nmetadata:\n")
        assert yaml.safe_load(text)["data"] == {"k": "a"}

    simulate(story)


def test_what_cannot_be_served_is_refused_with_what_can(simulate):
    """CBOR is behind a feature gate that is off; YAML cannot be streamed."""

    async def story(w):
        cbor = await w.raw("GET", PATH, accept="application/cbor")
        assert cbor.status == 406
        assert msgspec.json.decode(cbor.body)["message"] == (
            "only the following media types are accepted: application/json, application/yaml, "
            "application/vnd.kubernetes.protobuf"
        )
        stream = await w.raw("GET", PATH, accept="application/yaml", watch="true")
        assert stream.status == 406
        assert yaml.safe_load(stream.body)["message"] == (
            "only the following media types are accepted: application/json;stream=watch, "
            "application/vnd.kubernetes.protobuf;stream=watch"
        )
        body = await w.raw("POST", PATH, b"\xd9\xd9\xf7\xa0", "application/cbor")
        assert body.status == 415
        assert msgspec.json.decode(body.body)["message"] == (
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )

    simulate(story)


TABLE = "as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("header", "outcome"),
    [
        ("", Accepted("application/json")),
        ("*/*", Accepted("application/json")),
        ("application/*", Accepted("application/json")),
        (f"{PB}, application/json", Accepted(PB)),
        (f"application/json, {PB}", Accepted("application/json")),
        (f"application/json;q=0.5,{PB}", Accepted(PB)),
        (f"*/*,{PB}", Accepted(PB)),
        (f"{PB};{TABLE},application/json", Accepted("application/json")),
        (f"application/json;{TABLE}", Accepted("application/json", "Table", "v1")),
        ("application/json;as=Table;v=v2;g=meta.k8s.io,application/yaml",
         Accepted("application/yaml")),
        ("application/cbor, application/json", Accepted("application/json")),
        ("application/json;stream=other", None),
        ("text/html", None),
    ],
)  # fmt: skip
def test_the_first_clause_that_can_be_served_wins(header: str, outcome: Accepted | None):
    """Better quality first, wildcards last; a clause with an impossible parameter is skipped."""
    assert negotiate(header) == outcome


def test_people_get_indented_json_of_resources(simulate):
    """curl, Wget and browsers do, and whoever says ?pretty=; from apiserver negotiate.go."""

    async def story(w):
        await w.config_map("a")

        async def lines(path, agent, **query):
            headers = {"user-agent": agent}
            asked = Request("GET", path, tuple(query.items()), headers, b"", ADMIN)
            return (await w.server.handle(asked)).body.count(b"\n")

        for path in (PATH, f"{PATH}/a", f"{PATH}/none", "/api/v1/nowhere"):
            assert await lines(path, "kubectl/v1.37.1") == 0
            assert await lines(path, "kubectl/v1.37.1", pretty="true") > 3
            assert await lines(path, "curl/8.5.0") > 3
            assert await lines(path, "curl/8.5.0", pretty="0") == 0
        told = await w.json("GET", PATH, pretty="1")
        assert [item["metadata"]["name"] for item in told["items"]] == ["a"]
        assert await lines("/version", "kubectl/v1.37.1") > 3  # to everybody

    simulate(story)


def test_the_root_lists_what_is_served(simulate):
    """Paths and health checks; upstream's routes/index.go."""

    async def story(w):
        paths = (await w.json("GET", "/"))["paths"]
        assert {"/version", "/readyz", "/readyz/etcd", "/metrics"} <= set(paths)
        assert paths == sorted(paths)
        assert (await w.raw("GET", "/", user=None)).status == 403

    simulate(story)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_as_yaml_is_one_document(simulate, count):
    """Made item by item, and the same to the letter as if it were made at once."""

    async def story(w):
        for i in range(count):
            await w.raw("POST", PATH, {"metadata": {"name": f"c{i}"}, "data": {"k": "a\nb: c"}})
        listed = await w.raw("GET", PATH, accept="application/yaml")
        assert listed.headers["content-type"] == "application/yaml"
        text = listed.body
        body = yaml.safe_load(text)
        assert text == as_yaml(body)
        assert body == await w.json("GET", PATH)

    simulate(story)
