"""Requests through the HTTPS adapter: who asks, what is too much, what is odd."""

import asyncio
import io
import json
import re

import aiohttp
import pytest

from podwire.api import kinds
from podwire.api.codec import MAX_BODY_BYTES
from podwire.apiserver.certs import Authority
from podwire.client.counters import Frame, Response
from podwire.runtime.entropy import of_system

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


async def who(site, http):
    """The user that the adapter takes a client for."""
    site.http.api = asked = Asked()
    async with http.get("/anything") as answer:
        assert answer.status == 200
    return asked.user


async def test_a_certificate_names_its_user_and_groups(site):
    """CN is the user, every O a group."""
    pair = site.authority.client("jane", ["devs", "ops"])
    async with site.session(pair) as http:
        user = await who(site, http)
    assert user.name == "jane"
    assert user.groups == ("devs", "ops", "system:authenticated")


async def test_a_certificate_goes_before_a_token(site):
    """As upstream: x509 is asked first."""
    async with site.session(site.authority.client("jane", []), "nobody-issued-this") as http:
        assert (await who(site, http)).name == "jane"


async def test_a_token_names_its_user(site):
    """The bearer token."""
    async with site.admin() as http:
        assert (await who(site, http)).name == "robot"


@pytest.mark.parametrize("token", ["wrong", "a-made-up-toke", "ünknown", "a-made-up-token2"])
async def test_a_token_nobody_issued_is_unauthorized(site, token):
    """401, not anonymous, whatever its bytes."""
    async with site.session(token=token) as http, http.get(CONFIG_MAPS) as answer:
        assert answer.status == 401
        assert (await answer.json())["reason"] == "Unauthorized"


async def test_a_token_of_bytes_that_are_no_text_is_unauthorized(site):
    """Header bytes need not be UTF-8: a raw client sends what it likes."""
    host, port = site.http.address
    reader, writer = await asyncio.open_connection(host, port, ssl=site.tls())
    writer.write(
        b"GET /version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n"
        b"Connection: close\r\n\r\n"
    )
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_nobody_may_read_health_and_nothing_else(site):
    """Anonymous: /readyz and /version are open, resources are forbidden in RBAC's words."""
    async with site.session() as http:
        for path in ("/readyz", "/livez", "/healthz", "/version"):
            async with http.get(path) as answer:
                assert answer.status == 200, path
        for path in (CONFIG_MAPS, "/api/v1/namespaces/default/secrets", "/apis", "/api", "/"):
            async with http.get(path) as answer:
                assert answer.status == 403, path
                assert "system:anonymous" in (await answer.json())["message"]


async def test_headers_do_not_make_a_user(site):
    """Front-proxy and impersonation headers give nobody an identity."""
    forged = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters", "User": "admin"}
    async with site.session() as http, http.get(CONFIG_MAPS, headers=forged) as answer:
        assert answer.status == 403


async def test_a_certificate_of_another_authority_is_refused_by_tls(site):
    """The handshake fails; no request is read."""
    stranger = Authority(of_system(), site.server.world.clock.now_ns())
    async with site.session(stranger.client("admin", ["system:masters"])) as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get("/version")


async def test_a_body_beyond_three_mebibytes_is_too_large(site):
    """413 whether the length is announced or comes in chunks."""

    async def chunks():
        for _ in range(MAX_BODY_BYTES // 65536 + 2):
            yield bytes(65536)

    for body in (io.BytesIO(bytes(MAX_BODY_BYTES + 1)), chunks()):
        async with site.admin() as http, http.post(CONFIG_MAPS, data=body) as answer:
            assert answer.status == 413
            assert (await answer.json())["reason"] == "RequestEntityTooLarge"


async def test_one_connection_serves_many_requests(site):
    """Keep-alive: also after an error answer and after a 404."""
    host, port = site.http.address
    reader, writer = await asyncio.open_connection(host, port, ssl=site.tls())
    for path in ("/version", f"{CONFIG_MAPS}/none", "/nowhere", "/readyz"):
        end = "Connection: close" if path == "/readyz" else "Connection: keep-alive"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{end}\r\n\r\n".encode())
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"403", b"403", b"200"]


async def test_a_trailing_slash_changes_nothing(site):
    """As upstream routes."""
    async with site.admin() as http:
        for path in (CONFIG_MAPS, "/version"):
            async with http.get(path) as plain, http.get(f"{path}/") as slashed:
                assert slashed.status == plain.status == 200
                assert await slashed.read() == await plain.read()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE"])
async def test_methods_that_mean_nothing_get_an_answer(site, method):
    """405, and the connection goes on."""
    async with site.admin() as http:
        async with http.request(method, CONFIG_MAPS) as answer:
            assert answer.status == 405
            body = await answer.read()
            assert not body if method == "HEAD" else json.loads(body)["code"] == 405
        async with http.get("/version") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    "query",
    [
        "limit=many",
        "labelSelector=a%3D%3D%3Db",
        "fieldSelector=nonsense",
        "continue=garbage",
        "labelSelector=%ZZ",
    ],
)
async def test_a_malformed_query_is_a_bad_request(site, query):
    """400 with a Status, never 5xx."""
    async with site.admin() as http, http.get(f"{CONFIG_MAPS}?{query}") as answer:
        assert answer.status == 400
        assert (await answer.json())["kind"] == "Status"


async def test_a_watch_starts_before_its_first_event_and_tells_each_at_once(site):
    """Headers first, then one event each time something happens."""
    async with site.admin() as http, http.get(f"{CONFIG_MAPS}?watch=1") as answer:
        assert answer.status == 200
        assert answer.headers["Transfer-Encoding"] == "chunked"
        for name in ("a", "b"):
            body = {"metadata": {"name": name}}
            await site.client.create(kinds.CONFIG_MAP, body, "default")
            event = json.loads(await answer.content.readline())
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)


async def test_a_watch_ends_with_its_client(site):
    """What the server keeps for a watch is released when its client goes away."""
    released = asyncio.Event()

    class Frames:
        def __aiter__(self):
            return self

        async def __anext__(self):
            await asyncio.get_running_loop().create_future()

        async def aclose(self):
            released.set()

    site.http.api = Scripted(Frames())
    async with site.admin() as http:
        answer = await http.get("/anything")
        answer.connection.transport.abort()
        await released.wait()


async def test_events_that_are_ready_together_share_a_chunk(site):
    """One write for what one turn of the loop brought: the system call is what costs."""
    site.http.api = Scripted(Burst([b"%d\n" % i for i in range(500)]))
    async with site.admin() as http, http.get("/anything") as answer:
        chunks = []
        part = b""
        async for data, ended in answer.content.iter_chunks():
            part += data
            if ended:
                chunks.append(part)
                part = b""
    assert b"".join(chunks) == b"".join(b"%d\n" % i for i in range(500))
    assert len(chunks) == 1


async def test_a_stopped_server_ends_its_watches(site):
    """Shutdown does not wait for clients that watch."""
    async with site.admin() as http, http.get(f"{CONFIG_MAPS}?watch=1") as answer:
        site.server.stop()
        assert await answer.content.read() == b""


class Burst:
    """A watch whose frames are all there already, as ``Watcher`` gives them."""

    def __init__(self, lines):
        self.lines = lines

    def __aiter__(self):
        return self

    async def __anext__(self):
        frame = self.pending()
        if frame is None:
            raise StopAsyncIteration
        return frame

    def pending(self):
        """The next frame, None when there is none."""
        return Frame(self.lines.pop(0)) if self.lines else None


class Asked:
    """Counter 1: remembers who asked."""

    async def send(self, request):
        """An empty answer."""
        self.user = request.user
        return Response(200)


class Scripted:
    """Counter 1: answers everything with one stream."""

    def __init__(self, frames):
        self.frames = frames

    async def send(self, _request):
        """The stream."""
        return Response(200, stream=self.frames)
