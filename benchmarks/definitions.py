"""CustomResourceDefinitions: from the request to Established, and what a custom object costs."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from podwire.apiserver.config import Config
from podwire.apiserver.server import Apiserver
from podwire.client.counters import Request, User
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.store.embedded import EmbeddedStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
ROUNDS, OBJECTS = 3, 500
BLOCKS = 235
"""Parts of the schema: so many make 1 MB."""


def _block() -> Any:
    """A part of a schema as generators write them: described, nested, with lists and maps."""
    text = "what this field is for, as long as such descriptions are: two lines of prose, at least"
    leaf = {"type": "string", "description": f"{text}, {text}", "maxLength": 253}
    keyed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": leaf, "value": leaf, "weight": {"type": "integer"}},
        },
    }
    labels = {"type": "object", "additionalProperties": {"type": "string"}}
    fields: Any = {f"field{i}": leaf for i in range(14)}
    fields |= {"list": keyed, "labels": labels, "port": {"x-kubernetes-int-or-string": True}}
    fields["mode"] = {"type": "string", "enum": ["a", "b"], "default": "a"}
    return {"type": "object", "description": text, "properties": fields}


def _definition() -> bytes:
    blocks = {f"part{i}": _block() for i in range(BLOCKS)}
    spec = {"type": "object", "properties": blocks}
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
    }  # fmt: skip
    return msgspec.json.encode(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [version],
            },
        }
    )


def _widget(number: int) -> bytes:
    part = {f"field{i}": "value" for i in range(10)}
    part |= {"list": [{"name": f"n{i}", "value": "v"} for i in range(5)], "port": 80}  # type: ignore[dict-item]  # any JSON
    body = {"metadata": {"name": f"w{number}"}, "spec": {"part1": part, "part2": part}}
    return msgspec.json.encode(body)


async def _measure(env: Env, found: dict[str, str]) -> None:
    store = EmbeddedStore(env.clock, env.trace)
    server = Apiserver(env, store, Config())
    await server.start()

    async def ask(method: str, path: str, body: bytes = b"") -> bytes:
        headers = {"content-type": "application/json"}
        response = await server.handle(Request(method, path, (), headers, body, ADMIN))
        assert response.status < 300, response.body
        return response.body

    await ask("POST", "/api/v1/namespaces", b'{"metadata":{"name":"default"}}')
    definition = _definition()
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await ask("POST", CRDS, definition)
        await env.clock.sleep(0.001)  # virtual: it passes once all that can be done is done
        await ask("GET", WIDGETS)
        best = min(best, time.perf_counter() - began)
        await ask("DELETE", f"{CRDS}/widgets.example.com")
        await env.clock.sleep(0.001)
    found[f"a definition of {len(definition) / 1e6:.1f} MB served"] = f"{best:.2f} s"
    await ask("POST", CRDS, definition)
    await env.clock.sleep(0.001)
    began = time.perf_counter()
    await ask("POST", WIDGETS, _widget(OBJECTS))
    found["its first object (compiles the schema)"] = (
        f"{(time.perf_counter() - began) * 1e3:.0f} ms"
    )
    began = time.perf_counter()
    for number in range(OBJECTS):
        await ask("POST", WIDGETS, _widget(number))
    each = (time.perf_counter() - began) / OBJECTS
    found[f"handle() of a create ({len(_widget(1)) / 1e3:.1f} KB)"] = f"{each * 1e6:.0f} us"
    server.stop()
    await store.close()


def figures() -> dict[str, str]:
    """Best of some rounds."""
    found: dict[str, str] = {}

    async def main(env: Env) -> None:
        await _measure(env, found)

    sim.run(main, 0, log_level="error")
    return found
