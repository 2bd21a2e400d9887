"""A webhook of the real world: what the API server sends it, and what it makes of its faults."""

import asyncio
import base64
import json
import ssl
from contextlib import asynccontextmanager

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver.certs import Authority
from podwire.apiserver.http.outgoing import Outgoing, Peer
from podwire.client import http1
from podwire.runtime.env import real

VALIDATING = kinds.named("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")


class Hook:
    """A webhook server on loopback; ``answer`` makes the response of a request."""

    def __init__(self):
        env = real(0, "error")
        self.authority = Authority(env.secret, env.clock.now_ns())
        self.other = Authority(env.secret, env.clock.now_ns())
        self.port = 0
        self.connections = 0
        self.asked = []
        self.answer = lambda _request: {"allowed": True}
        self.status = b"200 OK"
        self.hang_up = False

    @asynccontextmanager
    async def listening(self, folder, names=("127.0.0.1", "hook.default.svc")):
        """Serve until the block ends."""
        pair = self.authority.server(names)
        (folder / "hook.crt").write_bytes(pair.certificate)
        (folder / "hook.key").write_bytes(pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "hook.crt", folder / "hook.key")
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                review = json.loads(await reader.readexactly(length))
                self.asked.append((head.decode(), review))
                response = {"uid": review["request"]["uid"], **self.answer(review["request"])}
                body = json.dumps({**review, "response": response}).encode()
                start = b"HTTP/1.1 " + self.status + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
                writer.write(start + body)
                if self.hang_up:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    def bundle(self, authority=None):
        return base64.b64encode((authority or self.authority).pem).decode()

    def configuration(self, name="hook", **config):
        config = {"caBundle": self.bundle(), **config}
        return {
            "metadata": {"name": name},
            "webhooks": [{
                "name": "hook.example.com", "sideEffects": "None", "timeoutSeconds": 2,
                "admissionReviewVersions": ["v1"], "clientConfig": config,
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                           "resources": ["configmaps"]}],
            }],
        }  # fmt: skip


async def refused(client, name="m"):
    with pytest.raises(ApiError) as caught:
        await client.create(kinds.CONFIG_MAP, {"metadata": {"name": name}}, "default")
    return caught.value.message


async def test_a_webhook_by_url_is_asked_over_https_on_one_connection(site, tmp_path):
    """Its certificate is verified; the next request goes the same way."""
    hook = Hook()
    async with hook.listening(tmp_path):
        url = f"https://127.0.0.1:{hook.port}/check"
        await site.client.create(VALIDATING, hook.configuration(url=url))
        for name in ("a", "b"):
            await site.client.create(kinds.CONFIG_MAP, {"metadata": {"name": name}}, "default")
        hook.answer = lambda _request: {"allowed": False, "status": {"message": "no"}}
        message = await refused(site.client)
        assert message == 'admission webhook "hook.example.com" denied the request: no'
        assert hook.connections == 1
        head, review = hook.asked[0]
        assert head.startswith("POST /check?timeout=2s HTTP/1.1\r\n")
        assert review["request"]["object"]["metadata"]["name"] == "a"


async def test_a_connection_that_the_webhook_closed_is_opened_anew(site, tmp_path):
    """Nothing of that reaches the client."""
    hook = Hook()
    hook.hang_up = True
    async with hook.listening(tmp_path):
        url = f"https://127.0.0.1:{hook.port}"
        await site.client.create(VALIDATING, hook.configuration(url=url))
        for name in ("a", "b", "c"):
            await site.client.create(kinds.CONFIG_MAP, {"metadata": {"name": name}}, "default")
        assert hook.connections == 3


async def test_what_is_wrong_with_a_webhook_is_told_in_upstreams_words(site, tmp_path):
    """Nobody there, a certificate of others, an answer that is an error."""
    hook = Hook()
    start = 'Internal error occurred: failed calling webhook "hook.example.com": '
    start += "failed to call webhook: "
    async with hook.listening(tmp_path):
        url = f"https://127.0.0.1:{hook.port}/x"
        post = f'Post "{url}?timeout=2s": '
        config = hook.configuration(url=url, caBundle=hook.bundle(hook.other))
        await site.client.create(VALIDATING, config)
        why = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        assert await refused(site.client) == start + post + why
        await site.client.delete(VALIDATING, "hook")
        await site.client.create(VALIDATING, hook.configuration(url=url))
        hook.status = b"404 Not Found"
        why = "the server could not find the requested resource"
        assert await refused(site.client) == start + why
    hook.status = b"200 OK"
    await site.client.delete(VALIDATING, "hook")
    await site.client.create(VALIDATING, hook.configuration(url=url))  # nobody listens any more
    why = f"dial tcp 127.0.0.1:{hook.port}: connect: connection refused"
    site.server.webhooks.client.close()
    assert await refused(site.client) == f'{start}Post "{url}?timeout=2s": {why}'


async def test_a_name_that_the_certificate_does_not_have_is_not_trusted(tmp_path):
    """Whoever signed it."""
    hook = Hook()
    async with hook.listening(tmp_path, names=("other.example.com",)):
        outgoing = Outgoing(real(0, "error").clock)
        peer = Peer("127.0.0.1", hook.port, "hook.default.svc", hook.authority.pem)
        with pytest.raises(
            ConnectionError, match=r"certificate is not valid for hook\.default\.svc"
        ):
            await outgoing.post(peer, "/", "hook.default.svc:443", b"{}")
        assert hook.asked == []


async def test_an_attached_process_is_reached_through_its_service(site, tmp_path):
    """By the Service's name in its certificate; the model's addresses play no part."""
    hook = Hook()
    async with hook.listening(tmp_path):
        ports = [{"port": 443, "name": "https"}]
        service = {"metadata": {"name": "hook"}, "spec": {"ports": ports}}
        await site.client.create(kinds.SERVICE, service, "default")
        piece = {
            "metadata": {
                "name": "hook-attached", "labels": {"kubernetes.io/service-name": "hook"},
                "annotations": {"podwire.dev/attached": f"127.0.0.1:{hook.port}"},
            },
            "addressType": "IPv4", "ports": [{"name": "https", "port": 40001}],
            "endpoints": [{"addresses": ["192.168.0.1"]}],
        }  # fmt: skip
        await site.client.create(kinds.ENDPOINT_SLICE, piece, "default")
        where = {"namespace": "default", "name": "hook", "path": "/validate"}
        await site.client.create(VALIDATING, hook.configuration(service=where))
        await site.client.create(kinds.CONFIG_MAP, {"metadata": {"name": "a"}}, "default")
        head, _ = hook.asked[0]
        assert "Host: hook.default.svc:443\r\n" in head


async def test_an_answer_without_end_is_not_read_to_its_end(tmp_path):
    """Bodies are bounded."""
    hook = Hook()
    hook.answer = lambda _request: {"allowed": True, "padding": "x" * (9 * 1024 * 1024)}
    async with hook.listening(tmp_path):
        outgoing = Outgoing(real(0, "error").clock)
        peer = Peer("127.0.0.1", hook.port, "127.0.0.1", hook.authority.pem)
        with pytest.raises(http1.HttpError, match="body too large"):
            await outgoing.post(peer, "/", "h", b'{"request":{"uid":"u"}}')
