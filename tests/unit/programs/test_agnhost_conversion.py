"""agnhost crd-conversion-webhook: how it converts, and what it says of what it does not.

Facts from kubernetes test/images/agnhost/crd-conversion-webhook/converter.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.client import http1
from tests.unit.programs.test_agnhost_webhook import CERTS, FLAGS, ask
from tests.unit.programs.test_programs import AGNHOST, World, story

V1, V2 = "stable.example.com/v1", "stable.example.com/v2"
START = ("crd-conversion-webhook", *FLAGS[1:])


def review(desired: str, *objects: Any) -> Any:
    request = {"uid": "7", "desiredAPIVersion": desired, "objects": objects}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request,
    }  # fmt: skip


def test_it_splits_and_joins_host_and_port() -> None:
    """Both ways; a failure is a Status, a host that is no text ends the connection."""
    cases: list[tuple[str, Any, Any]] = [
        (V2, {"apiVersion": V1, "hostPort": "a:80"}, {"apiVersion": V2, "host": "a", "port": "80"}),
        (V2, {"apiVersion": V1}, {"apiVersion": V2}),
        (V1, {"apiVersion": V2, "host": "a"}, {"apiVersion": V1, "hostPort": "a:"}),
        (V1, {"apiVersion": V2, "port": "8"}, {"apiVersion": V1, "hostPort": ":8"}),
        (V2, {"apiVersion": V1, "hostPort": "a"}, "invalid hostPort value `a`"),
        (V1, {"apiVersion": V1},
         f"conversion from a version to itself should not call the webhook: {V1}"),
        (V2, {"apiVersion": "v9"}, 'unexpected conversion version "v9"'),
        ("v9", {"apiVersion": V2}, 'unexpected conversion version "v9"'),
    ]  # fmt: skip

    async def body(world: World) -> None:
        await world.start(AGNHOST, *START, files=CERTS)
        for desired, obj, expected in cases:
            answer = await ask(world, "/crdconvert", review(desired, obj))
            told = msgspec.json.decode(answer.body)["response"]
            assert told["uid"] == "7"
            if isinstance(expected, str):
                assert told["result"]["message"] == expected
                assert told["result"]["status"] == "Failure"
            else:
                assert told["convertedObjects"] == [expected]
        with pytest.raises((ConnectionError, http1.HttpError)):
            await ask(world, "/crdconvert", review(V2, {"apiVersion": V1, "hostPort": 7}))
        for wrong in (b"{", b"[]", review(V2, {}) | {"kind": "X"}):
            assert (await ask(world, "/crdconvert", wrong)).status == 400
        assert (await ask(world, "/readyz", {})).body == b"ok"
        assert (await ask(world, "/", {})).status == 404

    story(body)
