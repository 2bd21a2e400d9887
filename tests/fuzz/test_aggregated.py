"""Extension API servers that lie about everything: in virtual time, behind modelled endpoints.

What is held: discovery and OpenAPI of everything else go on, requests to the liar are answered in
time, and nothing that it says is an error of this server's.
"""

import asyncio
import random

import msgspec
import pytest

from podwire.api import kinds
from podwire.apiserver import discovery, openapi
from podwire.apiserver.registry import apiservices
from podwire.client import http1
from tests.fuzz.conftest import SWEEP
from tests.fuzz.values import Wild
from tests.unit.apiserver.conftest import simulate  # noqa: F401  fixture

ROUNDS = 600 if SWEEP else 8
GROUP_VERSION = "liar.example.com/v1"
ROOT = f"/apis/{GROUP_VERSION}"
NAME = "v1.liar.example.com"
PATIENCE_S = 70
HEADS = (
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 304 Not Modified\r\n", b"HTTP/1.1 999 Odd\r\n",
    b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/9 200\r\n",
    b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 301 Away\r\nLocation: https://127.0.0.1/\r\n",
    b"HTTP/1.1 -1 OK\r\n", b"ICY 200 OK\r\n", b"HTTP/1.1 500 Oh\r\n", b"HTTP/1.1 429 No\r\n",
)  # fmt: skip
FRAMINGS = (
    b"Content-Length: 99999999999\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1_0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"A: " + b"b" * 40_000 + b"\r\n", b": c\r\n",
    b"Content-Length: 2\r\nContent-Length: 3\r\n", b"Content-Encoding: gzip\r\n", b"",
)  # fmt: skip
RESOURCE = {
    "name": "lies", "singularName": "lie", "namespaced": True, "kind": "Lie",
    "verbs": ["get", "list", "delete"], "shortNames": ["l"], "categories": ["all"],
}  # fmt: skip
DOCUMENT = {
    "swagger": "2.0",
    "paths": {f"{ROOT}/lies": {"get": {"parameters": [
        {"in": "query", "name": "q", "type": "string"}, {"$ref": "#/parameters/p"}],
        "responses": {"200": {"schema": {"$ref": "#/definitions/Lie"}}}}}},
    "parameters": {"p": {"in": "body", "name": "b", "schema": {"$ref": "#/definitions/Lie"}}},
    "definitions": {"Lie": {"type": "object", "properties": {
        "a": {"type": "array", "items": {"$ref": "#/definitions/Lie"}}, "b": {"maximum": 3}},
        "x-kubernetes-group-version-kind": [{"group": "g", "version": "v", "kind": "Lie"}]}},
}  # fmt: skip


class Answer:
    """The liar's end of a connection (counters.Stream): pieces, with waits between them."""

    def __init__(self, clock, pieces, pause_s):
        self.clock, self.pieces, self.pause_s = clock, list(pieces), pause_s
        self.local = self.remote = ("10.0.0.1", 1)

    async def send(self, data):
        """Whatever it is asked."""

    async def recv(self):
        """The next piece, late; None is silence for ever."""
        if not self.pieces:
            return b""
        if self.pause_s:
            await self.clock.sleep(self.pause_s)
        piece = self.pieces.pop(0)
        if piece is None:
            await asyncio.Event().wait()
        return piece

    async def close(self):
        """Nothing to do."""

    def abort(self):
        """Nothing to do."""


class Liar:
    """Counter 6, as far as the API server dials endpoints."""

    def __init__(self, w, rng):
        self.w, self.wild = w, Wild(rng)
        self.honest = False

    async def dial(self, _node, _address, _port, timeout_s):
        """A connection, or what becomes of trying."""
        rng = self.wild.rng
        if self.honest:
            return Answer(self.w.env.clock, [http1.TLS_ACCEPTED, self.whole(self.said())], 0)
        way = rng.randrange(12)
        if way == 0:
            raise ConnectionRefusedError(111, "Connection refused")
        if way == 1:
            await self.w.env.clock.sleep(timeout_s + 100)
        pieces = [self.raw()] if way < 6 else [self.whole(self.spoilt())]
        if rng.random() < 0.9:
            pieces.insert(0, http1.TLS_ACCEPTED)
        if rng.random() < 0.1:
            pieces = [bytes([byte]) for byte in b"".join(pieces)[:300]]
        if rng.random() < 0.1:
            pieces.append(None)
        return Answer(self.w.env.clock, pieces, rng.choice((0, 0, 0, 0.1, 7)))

    @staticmethod
    def said():
        """What all questions have for an answer: discovery and both OpenAPIs, in one."""
        index = {ROOT[1:]: {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=1"}}
        body = {"kind": "APIResourceList", "groupVersion": GROUP_VERSION, "resources": [RESOURCE]}
        return {**body, **DOCUMENT, "paths": {**index, **DOCUMENT["paths"]}}

    def spoilt(self):
        """The same with something strange in it."""
        rng = self.wild.rng
        said = msgspec.json.decode(msgspec.json.encode(self.said()))
        if rng.random() < 0.1:
            said["resources"] = [{**RESOURCE, "name": f"r{n}"} for n in range(5000)]
        if rng.random() < 0.1:
            said["definitions"] = {"Lie": nested(rng.choice((50, 90, 400)))}
        if rng.random() < 0.6:
            self.wild.broken(said)
        if rng.random() < 0.05:
            return b"[" * 200_000
        return said

    def whole(self, body):
        """An answer that is well framed."""
        data = body if isinstance(body, bytes) else self.wild.encoded(body)
        etag = self.wild.rng.choice((b"", b"ETag: W/\xff\r\n", b'ETag: "1"\r\n'))
        return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (etag, len(data), data)

    def raw(self):
        """An answer that may be none."""
        rng = self.wild.rng
        body = rng.choice((b"{}", b"5\r\n{}", b"zz\r\n", b"\xff" * 100, b"x" * 9_000_000))
        return rng.choice(HEADS) + rng.choice(FRAMINGS) + b"\r\n" + body


def nested(depth):
    schema = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


async def install(w):
    ports = [{"port": 443, "protocol": "TCP"}]
    await w.client.create(
        kinds.SERVICE, {"metadata": {"name": "liar"}, "spec": {"ports": ports}}, "default"
    )
    await w.client.create(kinds.ENDPOINT_SLICE, {
        "metadata": {"name": "l", "labels": {"kubernetes.io/service-name": "liar"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": 443}],
        "endpoints": [{"addresses": ["10.244.1.2"], "nodeName": "node-1"}],
    }, "default")  # fmt: skip
    group, version = GROUP_VERSION.split("/")
    spec = {"group": group, "version": version, "groupPriorityMinimum": 2000,
            "versionPriority": 15, "service": {"namespace": "default", "name": "liar"},
            "insecureSkipTLSVerify": True}  # fmt: skip
    await w.client.create(apiservices.KIND, {"metadata": {"name": NAME}, "spec": spec})


AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
GNOSTIC = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
OURS = (
    ("/apis", AGGREGATED), ("/apis", "application/json"), ("/openapi/v3", ""), ("/openapi/v2", ""),
    ("/openapi/v2", GNOSTIC), ("/apis/apps/v1", ""), ("/apis/liar.example.com", ""),
)  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_no_extension_server_breaks_more_than_its_group(simulate, seed, capfd):  # noqa: F811
    """Refusal, silence, drips, noise, other shapes, more than fits, redirects to elsewhere."""

    async def story(w):
        for route in (*discovery.routes(), *openapi.ROUTES):
            w.server.routes.add(route)
        rng = random.Random(seed)  # noqa: S311  what is tested is no secret
        liar = w.server.kubelets = Liar(w, rng)
        await install(w)
        for _ in range(ROUNDS):
            liar.honest = rng.random() < 0.3
            await w.env.clock.sleep(rng.choice((0.1, 35)))
            for path, accept in rng.sample(OURS, 3):
                answer = await w.raw("GET", path, **({"accept": accept} if accept else {}))
                assert answer.status in {200, 404}, (seed, path, answer.body)
            liar.honest = False
            for path in (f"{ROOT}/lies", f"{ROOT}/namespaces/a/lies/b", f"/openapi/v3{ROOT}"):
                began = w.env.clock.now_ns()
                answer = await w.raw(rng.choice(("GET", "GET", "DELETE", "PATCH")), path, {})
                assert (w.env.clock.now_ns() - began) / 1e9 < PATIENCE_S, (seed, path)
                assert answer.status >= 200, (seed, path)
            made = await w.raw("POST", "/api/v1/namespaces/default/configmaps",
                               {"metadata": {"generateName": "a"}})  # fmt: skip
            assert made.status == 201
        liar.honest = True
        await w.env.clock.sleep(100)
        found = await w.raw("GET", "/openapi/v2")
        assert f"{ROOT}/lies".encode() in found.body
        await w.client.delete(apiservices.KIND, NAME)
        assert (await w.raw("GET", ROOT)).status == 404

    simulate(story, seed)
    assert "Traceback" not in capfd.readouterr().err
