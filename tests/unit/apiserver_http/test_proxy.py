"""pods/proxy, services/proxy and nodes/proxy, with backends that the test plays."""

import gzip

import aiohttp
import pytest
from wsproto.utilities import generate_accept_token

from podwire.api import kinds
from podwire.apiserver import discovery
from podwire.apiserver.rewriting import MAX_HTML_BYTES, Links
from podwire.client import http1

PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
REFUSED = "error trying to reach service: dial tcp 10.244.0.2:99: connect: connection refused"
PAGE = '<a href="/x?a=1&amp;b=2">x</a><img src="y.png"><script>if (1 < 2) "<a href=/z>"</script>'


class Backend:
    """An HTTP server behind a port; remembers what it was asked."""

    def __init__(self, *, tls=False):
        self.requests = []
        self.answers = {}
        self._tls = tls

    async def __call__(self, stream):
        await http1.serve_connection(stream, self._answer, tls=self._tls)

    async def _answer(self, request):
        self.requests.append(request)
        return self.answers.get(request.path, http1.text(f"{request.method} {request.target}"))


@pytest.fixture
async def web(site):
    """A pod with an address and a backend on its port 80."""
    await site.pod()
    await site.client.patch(
        kinds.POD, "web", {"status": {"podIP": "10.244.0.2"}}, "default", subresource="status"
    )
    backend = site.kubelets.pods[80] = Backend()
    return site, backend


async def service(site, *, ready=True):
    """A Service with one endpoint on node-2, by slices as the controllers write them."""
    ports = [{"name": "http", "port": 8080, "targetPort": 80}]
    body = {"metadata": {"name": "web"}, "spec": {"ports": ports}}
    await site.client.create(kinds.SERVICE, body, "default")
    piece = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.244.1.9"], "nodeName": "node-2", "conditions": {"ready": ready}}
        ],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
    await site.client.create(kinds.ENDPOINT_SLICE, piece, "default")


async def test_every_method_reaches_the_pod_with_path_query_and_body(web):
    """From the pod's node; credentials and hop-by-hop headers end at the API server."""
    site, backend = web
    async with site.admin() as http:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            path = f"{PODS}/web/proxy/a%20b/c?x=1&y=%2F"
            headers = {"X-Mine": "yes", "TE": "trailers"}
            async with http.request(method, path, data=b"body", headers=headers) as answer:
                assert answer.status == 200
                assert await answer.text() == f"{method} /a%20b/c?x=1&y=%2F"
        async with http.head(f"{PODS}/web/proxy/") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
    assert site.kubelets.asked[0] == ("node-1", "10.244.0.2", 80)
    seen = backend.requests[0]
    assert (seen.header("x-mine"), seen.header("authorization"), seen.header("te")) == (
        "yes", "", "",
    )  # fmt: skip
    assert seen.header("x-forwarded-uri") == f"{PODS}/web/proxy/a%20b/c"
    assert [r.body for r in backend.requests[:5]] == [b"body"] * 5


async def test_the_backend_learns_where_a_request_came_from(web):
    """Behind what proxies before this one said."""
    site, backend = web
    async with site.admin() as http:
        for given in ({}, {"X-Forwarded-For": "192.0.2.7"}):
            async with http.get(f"{PODS}/web/proxy/", headers=given) as answer:
                assert answer.status == 200
    seen = [request.header("x-forwarded-for") for request in backend.requests]
    assert seen == ["127.0.0.1", "192.0.2.7, 127.0.0.1"]


async def test_cookies_stay_apart(web):
    """Each on a line of its own, since a date in one holds a comma; other lists are joined."""
    site, backend = web
    cookies = ["a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT", "b=2"]
    headers = [*(("Set-Cookie", cookie) for cookie in cookies), ("Vary", "A"), ("Vary", "B")]
    backend.answers["/"] = http1.Response(200, b"", headers)
    async with site.admin() as http, http.get(f"{PODS}/web/proxy/") as answer:
        assert answer.headers.getall("Set-Cookie") == cookies
        assert answer.headers.getall("Vary") == ["A, B"]


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "224.0.0.1", "::1"])
async def test_an_address_that_is_nobodys_own_is_not_dialled(web, address):
    """Whoever may write a pod's status must not reach what listens on the node for itself."""
    site, _ = web
    status = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
    await site.client.patch(kinds.POD, "web", status, "default", subresource="status")
    async with site.admin() as http, http.get(f"{PODS}/web/proxy/") as answer:
        assert answer.status == 400
        assert (await answer.json())["message"] == "address not allowed"
    assert site.kubelets.asked == []


def test_links_behind_what_is_malformed_are_found():
    """A broken reference ends nothing; a tag that does not end is no tag."""
    links = Links("/proxy", "backend", "host")
    assert links.page('&#; &#x <img src="/y">') == '&#; &#x <img src="/proxy/y">'
    assert links.page('<a href="/x" <b') == '<a href="/x" <b'


def test_a_hostile_page_takes_no_longer_than_its_length():
    """A thousand times the tags that never end took a million times as long."""
    text = "<a " * (MAX_HTML_BYTES // 3)
    assert Links("/proxy", "backend", "host").page(text) == text


async def test_a_path_without_an_end_is_redirected_to_its_slash(web):
    """Relative links would go astray."""
    site, _ = web
    async with (
        site.admin() as http,
        http.get(f"{PODS}/web/proxy?x=1", allow_redirects=False) as answer,
    ):
        assert (answer.status, answer.headers["Location"]) == (301, f"{PODS}/web/proxy/?x=1")


async def test_pages_and_redirects_stay_behind_the_proxy(web):
    """Absolute paths get the proxy's in front; plain text passes as it is."""
    site, backend = web
    backend.answers = {
        "/page": http1.text(PAGE, kind="text/html; charset=utf-8"),
        "/zipped": http1.Response(
            200, gzip.compress(PAGE.encode()),
            [("Content-Type", "text/html"), ("Content-Encoding", "gzip")],
        ),
        "/text": http1.text(PAGE),
        "/moved": http1.Response(302, b"", [("Location", "/there/")]),
        "/away": http1.Response(302, b"", [("Location", "https://example.com/x")]),
    }  # fmt: skip
    wanted = PAGE.replace('"/x?', f'"{PODS}/web/proxy/x?')
    async with site.admin() as http:
        for path, body in (("page", wanted), ("zipped", wanted), ("text", PAGE)):
            async with http.get(f"{PODS}/web/proxy/{path}") as answer:
                assert await answer.text() == body
        for path, location in (("moved", f"{PODS}/web/proxy/there/"),
                               ("away", "https://example.com/x")):  # fmt: skip
            address = f"{PODS}/web/proxy/{path}"
            async with http.get(address, allow_redirects=False) as answer:
                assert answer.headers["Location"] == location


async def test_a_long_answer_is_streamed_and_a_broken_one_breaks(web):
    """Half an answer is never taken for a whole one."""
    site, backend = web
    backend.answers["/long"] = http1.Response(200, b"x" * 3_000_000, [])

    async def cut(stream):
        reader = http1.Reader(stream)
        await http1.read_request(reader, stream)
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nonly this")
        await stream.close()

    site.kubelets.pods[81] = cut
    async with site.admin() as http:
        async with http.get(f"{PODS}/web/proxy/long") as answer:
            assert await answer.read() == b"x" * 3_000_000
        async with http.get(f"{PODS}/web:81/proxy/") as answer:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()


async def test_services_pick_a_ready_endpoint_of_the_named_port(site):
    """By name, by number, by scheme; the connection begins at the endpoint's node."""
    await service(site)
    plain, tls = Backend(), Backend(tls=True)
    site.kubelets.pods = {80: plain}
    async with site.admin() as http:
        for name in ("web:http", "web:8080", "http:web:http"):
            async with http.get(f"{SERVICES}/{name}/proxy/x") as answer:
                assert await answer.text() == "GET /x"
        site.kubelets.pods = {80: tls}
        async with http.get(f"{SERVICES}/https:web:http/proxy/x") as answer:
            assert await answer.text() == "GET /x"
        async with http.get(f"{SERVICES}/http:web:http/proxy/x") as answer:
            assert answer.status == 400
            assert await answer.text() == "Client sent an HTTP request to an HTTPS server.\n"
    assert site.kubelets.asked[0] == ("node-2", "10.244.1.9", 80)


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (f"{SERVICES}/web:9/proxy/", 503, 'no service port 9 found for service "web"'),
        (f"{SERVICES}/web/proxy/", 503, 'no endpoints available for service "web"'),
        (f"{SERVICES}/nope/proxy/", 404, 'services "nope" not found'),
        (f"{PODS}/nope/proxy/", 404, 'pods "nope" not found'),
        (f"{PODS}/ftp:web:21/proxy/", 400, 'invalid pod request "ftp:web:21"'),
        (f"{PODS}/web:99/proxy/", 503, REFUSED),
        ("/api/v1/nodes/nope/proxy/healthz", 404, 'nodes "nope" not found'),
    ],
)  # fmt: skip
async def test_what_cannot_be_reached_is_told_in_upstreams_words(web, path, code, message):
    """As a Status."""
    site, _ = web
    await service(site, ready=False)
    async with site.admin() as http, http.get(path) as answer:
        assert (answer.status, (await answer.json())["message"]) == (code, message)


async def test_a_node_is_its_kubelet_or_another_port_of_it(site):
    """10250 is asked by counter 6; other ports from the node itself."""
    await site.client.create(kinds.NODE, {"metadata": {"name": "node-1"}})
    site.kubelets.pods = {9100: Backend()}
    async with site.admin() as http:
        async with http.get("/api/v1/nodes/node-1/proxy/healthz?verbose=1") as answer:
            assert await answer.text() == "ok"
        async with http.get("/api/v1/nodes/node-1:9100/proxy/metrics") as answer:
            assert await answer.text() == "GET /metrics"
    assert site.kubelets.asked == [
        ("node-1", "GET", "/healthz", (("verbose", "1"),)), ("node-1", "node-1", 9100),
    ]  # fmt: skip


async def test_a_websocket_passes_through(web):
    """The handshake is the backend's; afterwards bytes go both ways."""
    site, _ = web

    async def chat(stream):
        reader = http1.Reader(stream)
        request = await http1.read_request(reader, stream)
        if request.path == "/no":
            await stream.send(http1.encode_response(http1.text("not here", 426)))
            return
        key = request.header("sec-websocket-key").encode()
        accept = generate_accept_token(key)
        await stream.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x81\x02hi"
        )
        frame = await reader.some(100)
        masked = bytes(b ^ frame[2 + i % 4] for i, b in enumerate(frame[6:]))
        await stream.send(b"\x81" + bytes([len(masked)]) + masked)
        await stream.close()

    site.kubelets.pods[80] = chat
    async with site.admin() as http:
        async with http.ws_connect(f"{PODS}/web/proxy/chat") as socket:
            assert await socket.receive_str() == "hi"
            await socket.send_str("echo")
            assert await socket.receive_str() == "echo"
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(f"{PODS}/web/proxy/no")
    assert caught.value.status == 426


async def test_discovery_shows_the_proxies(site):
    """pods/proxy has PodProxyOptions, and so on."""
    for route in discovery.routes():
        site.server.routes.add(route)
    async with site.admin() as http, http.get("/api/v1") as answer:
        found = {r["name"]: r for r in (await answer.json())["resources"]}
    for name, kind in (("pods", "Pod"), ("services", "Service"), ("nodes", "Node")):
        assert found[f"{name}/proxy"]["kind"] == f"{kind}ProxyOptions"
    assert found["pods/attach"]["verbs"] == ["create", "get"]


LINKS = Links("/api/v1/namespaces/default/pods/web/proxy", "10.0.0.1", "127.0.0.1:6443")


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("x/y", "x/y"),
        ("/", f"{LINKS.prepend}/"),
        ("/x/../y/", f"{LINKS.prepend}/y/"),
        ("http://10.0.0.1/x#f", f"{LINKS.prepend}/x#f"),
        ("https://127.0.0.1:6443/x", f"https://127.0.0.1:6443{LINKS.prepend}/x"),
        ("http://example.com/x", "http://example.com/x"),
        (f"{LINKS.prepend}/x", f"{LINKS.prepend}/x"),
        ("http://[bad/x", "http://[bad/x"),
    ],
)
def test_urls_are_rewritten_only_where_they_lead_to_the_backend(url, wanted):
    """Relative ones and those of other hosts stay."""
    assert LINKS.url(url) == wanted
