"""What ``podwire attach`` asks for: an EndpointSlice, and who may have one."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

from podwire.api import kinds
from podwire.apiserver import attachments, authorizer
from podwire.apiserver.routes import Route
from podwire.cli.errors import Failure
from podwire.cli.verbs.attach import service_name, split
from podwire.client.attached import PATH


class Fabric:
    """Knows the gateway."""

    async def node(self, _name: str) -> SimpleNamespace:
        return SimpleNamespace(address="192.168.0.1")


def serve(w) -> None:
    async def handler(server, request):
        return await attachments.handle(server, request, Fabric())

    w.server.routes.add(Route(PATH, handler, methods=("POST", "DELETE")))


async def service(w, name: str, *ports: int) -> None:
    spec = {"ports": [{"port": port, "name": f"p{port}"} for port in ports]}
    await w.client.create(kinds.SERVICE, {"metadata": {"name": name}, "spec": spec}, "default")


def test_a_process_is_attached_and_detached(simulate):
    """Each at a port of the gateway of its own."""

    async def story(w):
        serve(w)
        await service(w, "web", 80, 443)
        await service(w, "one", 8080)
        asked = {"namespace": "default", "service": "web", "address": "127.0.0.1:9443"}
        answer = await w.json("POST", PATH, {**asked, "port": "443"})
        assert answer["metadata"]["annotations"] == {"podwire.dev/attached": "127.0.0.1:9443"}
        assert answer["ports"] == [{"name": "p443", "port": 40000, "protocol": "TCP"}]
        assert answer["endpoints"][0]["addresses"] == ["192.168.0.1"]
        await w.json("POST", PATH, {**asked, "service": "one"})
        assert [(a["service"], a["modelled"]) for a in attachments.listing(w.server)] == [
            ("default/one", "192.168.0.1:40001"), ("default/web", "192.168.0.1:40000"),
        ]  # fmt: skip
        gone = await w.json("DELETE", PATH, {"namespace": "default", "service": "web"})
        assert gone == {"detached": ["web-attached-40000"]}
        gone = await w.json("DELETE", PATH, {"namespace": "default", "service": "web"})
        assert gone["reason"] == "NotFound"

    simulate(story)


def test_what_cannot_be_attached_is_told(simulate):
    """A Service that is missing or has several ports, an address that is none."""

    async def story(w):
        serve(w)
        await service(w, "web", 80, 443)
        asked = {"namespace": "default", "service": "web", "address": "127.0.0.1:1"}
        ask = partial(w.json, "POST", PATH)
        several = "service web has several ports, name one of: 80 (p80), 443 (p443)"
        assert (await ask(asked))["message"] == several
        assert "has no port 1" in (await ask({**asked, "port": "1"}))["message"]
        assert (await ask({**asked, "service": "x"}))["message"] == 'services "x" not found'
        assert "give HOST:PORT" in (await ask({**asked, "address": "1"}))["message"]

    simulate(story)


def test_only_who_may_attach_may_write_such_a_slice(simulate, monkeypatch):
    """Or anybody who may write EndpointSlices could reach this machine's own ports."""

    async def story(w):
        monkeypatch.setattr(authorizer, "authorize", lambda _server, asked: (not asked.path, ""))
        piece = {
            "metadata": {"name": "p", "annotations": {"podwire.dev/attached": "127.0.0.1:22"}},
            "addressType": "IPv4", "endpoints": [], "ports": [],
        }  # fmt: skip
        answer = await w.json("POST", kinds.ENDPOINT_SLICE.path("default"), piece)
        assert answer["reason"] == "Forbidden"
        assert 'cannot post path "/apis/podwire.dev/v1alpha1/attachments"' in answer["message"]

    simulate(story)


def test_how_a_place_is_written():
    """``[PORT:]HOST:PORT``, with an IPv6 host in brackets."""
    assert split("127.0.0.1:9443") == ("", "127.0.0.1:9443")
    assert split("443:localhost:9443") == ("443", "localhost:9443")
    assert split("https:[::1]:9443") == ("https", "[::1]:9443")
    assert service_name("svc/web") == service_name("web") == "web"
    for wrong in ("9443", "a:b", "::1:9443", "1:2:3:4", "127.0.0.1:99999"):
        try:
            split(wrong)
        except Failure:
            continue
        raise AssertionError(wrong)
