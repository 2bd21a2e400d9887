"""JSON where nobody decodes objects: bodies of podwire's own, tokens, Secrets. All of it 4xx."""

import base64

import pytest

from podwire.api.status import ApiError
from podwire.api.untrusted import decoded
from podwire.client.api import check
from podwire.client.counters import Request, Response
from tests.unit.apiserver.conftest import ADMIN

BAD = {
    "deep lists": b"[" * 20_000, "deep objects": b'{"a":' * 20_000, "no UTF-8": b'{"a":"\xff"}',
    "no text": b'"\xff"', "a long number": b"1" * 5000, "NUL": b"\x00", "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_whatever_it_is_it_is_refused_or_a_value(body):
    """ValueError is the only way to fail."""
    with pytest.raises(ValueError, match=r"."):
        decoded(body, dict)


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_no_place_that_reads_json_falls_over_it(simulate, body):
    """Continue tokens, Secrets that hold JSON, requests, patches; errors that others answer."""
    told = base64.b64encode(body).decode()

    async def story(w):
        answer = await w.raw("GET", "/api/v1/pods", limit="1", **{"continue": told[:6000]})
        assert answer.status == (200 if not told else 400)
        for type_ in ("dockerconfigjson", "dockercfg"):
            secret = {"metadata": {"name": "a"}, "type": f"kubernetes.io/{type_}",
                      "data": {f".{type_}": told}}  # fmt: skip
            answer = await w.raw("POST", "/api/v1/namespaces/default/secrets", secret)
            assert answer.status == 422, answer.body
        path = "/api/v1/namespaces/default/configmaps"
        for method, at in (("POST", path), ("PATCH", f"{path}/x"), ("DELETE", f"{path}/x")):
            headers = {"content-type": "application/json"}
            if method == "PATCH":
                headers["content-type"] = "application/merge-patch+json"
            answer = await w.server.handle(Request(method, at, (), headers, body, ADMIN))
            assert 400 <= answer.status < 500, (method, answer.body)

    simulate(story)
    with pytest.raises(ApiError):
        check(Response(500, body))
