"""An extension API server behind an APIService: who is asked, who asks, what discovery tells."""

import asyncio
import base64
import json
import ssl
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from podwire.api import kinds
from podwire.apiserver import discovery, frontproxy, openapi
from podwire.apiserver.certs import Authority
from podwire.apiserver.frontproxy import FrontProxy
from podwire.apiserver.registry import apiservices
from podwire.client import http1
from podwire.client.attached import ANNOTATION, STANDS_IN
from podwire.client.counters import ANONYMOUS, Request, User

GROUP_VERSION = "wardle.example.com/v1alpha1"
ROOT = f"/apis/{GROUP_VERSION}"
NAME = "v1alpha1.wardle.example.com"
FLUNDERS = {
    "name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder",
    "verbs": ["get", "list", "watch"], "shortNames": ["fl"],
}  # fmt: skip
STATUS = {"name": "flunders/status", "namespaced": True, "kind": "Flunder", "verbs": ["get"]}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
GNOSTIC = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
BOB = User("bob", ("a, b", "system:authenticated"), "u-1", (("example.com/team", ("x", "y")),))


class Extension:
    """The extension server; insists on a client certificate of the front proxy's authority."""

    def __init__(self, site):
        world = site.server.world
        now_ns = world.clock.now_ns()
        self.authority = Authority(world.secret, now_ns)
        front = Authority(world.secret, now_ns, name=frontproxy.AUTHORITY)
        pair = front.client(frontproxy.CLIENT, ())
        site.server.authenticator.front_proxy = FrontProxy(front.pem, pair, site.authority.pem)
        self.front = front
        self.asked = []
        self.status = 200

    @asynccontextmanager
    async def listening(self, folder):
        """Serve until the block ends."""
        pair = self.authority.server(("wardle.default.svc",))
        (folder / "ext.crt").write_bytes(pair.certificate)
        (folder / "ext.key").write_bytes(pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ext.crt", folder / "ext.key")
        context.load_verify_locations(cadata=self.front.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _answer(self, request):
        self.asked.append((request.path, request.headers))
        if request.path == ROOT:
            body = {"kind": "APIResourceList", "groupVersion": GROUP_VERSION}
            return web.json_response({**body, "resources": [FLUNDERS, STATUS]}, status=self.status)
        if request.path == "/openapi/v3":
            url = f"/openapi/v3{ROOT}?hash=1"
            return web.json_response({"paths": {ROOT[1:]: {"serverRelativeURL": url}}})
        if request.path == "/openapi/v2":
            if request.headers.get("if-none-match") == '"v2"':
                return web.Response(status=304)
            paths = {f"{ROOT}/flunders": {"get": {"operationId": "listFlunders"}}}
            body = {"swagger": "2.0", "paths": paths, "definitions": {"a.Flunder": {}}}
            return web.json_response(body, headers={"etag": '"v2"'})
        if "upgrade" in request.headers:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str("hello")
            await socket.close()
            return socket
        if "watch" in request.query:
            stream = web.StreamResponse()
            await stream.prepare(request)
            for number in range(3):
                await stream.write(b'{"n":%d}\n' % number)
            return stream
        return web.json_response({"path": request.path_qs})


async def install(site, extension, port, **spec):
    """Service, attached endpoint and APIService."""
    create = site.client.create
    ports = [{"port": 443, "protocol": "TCP"}]
    await create(
        kinds.SERVICE, {"metadata": {"name": "wardle"}, "spec": {"ports": ports}}, "default"
    )
    if port:
        await create(kinds.ENDPOINT_SLICE, {
            "metadata": {"name": "w", "labels": {"kubernetes.io/service-name": "wardle"},
                         "annotations": {ANNOTATION: f"127.0.0.1:{port}"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 40000, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["192.168.0.9"], "conditions": {"ready": True}}],
        }, "default")  # fmt: skip
    body = {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000,
        "versionPriority": 15, "service": {"namespace": "default", "name": "wardle"},
        "caBundle": base64.b64encode(extension.authority.pem).decode(), **spec,
    }  # fmt: skip
    await create(apiservices.KIND, {"metadata": {"name": NAME}, "spec": body})


async def condition(site, *reasons, name=NAME):
    """The APIService's condition, once its reason is one of these."""
    async with asyncio.timeout(20):
        while True:
            entry = site.server.caches.of(apiservices.KIND).get("", name)
            found = (entry.json().get("status") or {}).get("conditions") or [{}]
            if found[0].get("reason") in reasons:
                return found[0]
            await asyncio.sleep(0.01)


async def ask(site, path, user=BOB, method="GET", **headers):
    """A request in this process, as ``user``."""
    path, _, query = path.partition("?")
    pairs = tuple(tuple(pair.split("=")) for pair in query.split("&") if pair)
    return await site.server.handle(Request(method, path, pairs, headers, b"", user))


MASTER = User("alice", ("system:masters",))


@pytest.fixture
async def extension(site):
    for route in (*discovery.routes(), *openapi.ROUTES):
        site.server.routes.add(route)
    return Extension(site)


async def test_requests_go_on_with_the_name_of_who_asks(site, extension, tmp_path):
    """In headers that only the front proxy's certificate makes true; credentials stay here, and
    nobody gets in whom the authorizer does not let in.
    """
    async with extension.listening(tmp_path) as port:
        await install(site, extension, port)
        assert (await condition(site, "Passed"))["message"] == "all checks passed"
        refused = await ask(site, f"{ROOT}/namespaces/d/flunders/one", ANONYMOUS)
        assert refused.status == 403
        assert b'cannot get resource \\"flunders\\" in API group' in refused.body
        forged = {"authorization": "Bearer x", "x-remote-user": "root", "x-remote-group": "g"}
        found = await ask(site, f"{ROOT}/namespaces/d/flunders/one?a=b", **forged)
        assert json.loads(found.body) == {"path": f"{ROOT}/namespaces/d/flunders/one?a=b"}
        headers = extension.asked[-1][1]
        assert headers["X-Remote-User"] == "bob"
        assert headers["X-Remote-Uid"] == "u-1"
        assert headers.getall("X-Remote-Group") == ["a, b", "system:authenticated"]
        assert headers.getall("X-Remote-Extra-example.com%2Fteam") == ["x", "y"]
        assert "Authorization" not in headers
        watched = await ask(site, f"{ROOT}/flunders?watch=true")
        lines = b"".join([frame.data async for frame in watched.stream])
        assert lines == b'{"n":0}\n{"n":1}\n{"n":2}\n'


async def test_other_protocols_go_through(site, extension, tmp_path):
    """A WebSocket's frames are carried both ways."""
    async with extension.listening(tmp_path) as port:
        await install(site, extension, port)
        await condition(site, "Passed")
        site.http.authenticator.know({"master": MASTER})
        async with (
            site.session(token="master") as http,
            http.ws_connect(f"{ROOT}/namespaces/d/flunders/one/connect") as socket,
        ):
            assert await socket.receive_str() == "hello"


async def test_discovery_and_openapi_tell_of_it_in_its_place(site, extension, tmp_path):
    """Behind groups that demand more, before others; stale while nobody knows."""
    async with extension.listening(tmp_path) as port:
        await install(site, extension, port)
        await condition(site, "Passed")
        found = json.loads((await ask(site, "/apis", accept=AGGREGATED)).body)["items"]
        names = [item["metadata"]["name"] for item in found]
        assert "wardle.example.com" in names
        (version,) = found[names.index("wardle.example.com")]["versions"]
        assert version["freshness"] == "Current"
        (resource,) = version["resources"]
        assert resource["responseKind"] == {
            "group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder",
        }  # fmt: skip
        assert [part["subresource"] for part in resource["subresources"]] == ["status"]
        group = json.loads((await ask(site, "/apis/wardle.example.com")).body)
        assert group["preferredVersion"]["version"] == "v1alpha1"
        index = json.loads((await ask(site, "/openapi/v3", MASTER)).body)["paths"]
        assert index[ROOT[1:]]["serverRelativeURL"] == f"/openapi/v3{ROOT}?hash=1"
        document = await ask(site, f"/openapi/v3{ROOT}?hash=1", MASTER)
        assert json.loads(document.body)["path"] == f"/openapi/v3{ROOT}?hash=1"
        for accept in ("application/json", GNOSTIC):
            joined = (await ask(site, "/openapi/v2", MASTER, accept=accept)).body
            assert b"listFlunders" in joined
            assert b"a.Flunder" in joined
            assert b"io.k8s.api.core.v1.Pod" in joined
        extension.status = 500
        await site.client.patch(
            kinds.SERVICE, "wardle", {"metadata": {"labels": {"a": "b"}}}, "default"
        )
        why = (await condition(site, "FailedDiscoveryCheck"))["message"]
        assert why.endswith(f":443{ROOT}: 500")
        found = json.loads((await ask(site, "/apis", accept=AGGREGATED)).body)["items"]
        (version,) = found[names.index("wardle.example.com")]["versions"]
        assert (version["freshness"], len(version["resources"])) == ("Stale", 1)
        away = await ask(site, f"{ROOT}/flunders", MASTER)
        assert (away.status, away.body) == (503, b"service unavailable\n")
        assert b"listFlunders" in (await ask(site, "/openapi/v2", MASTER)).body
        extension.status = 200
        await site.client.patch(
            kinds.SERVICE, "wardle", {"metadata": {"labels": {"a": "c"}}}, "default"
        )
        await condition(site, "Passed")
        assert b"listFlunders" in (await ask(site, "/openapi/v2", MASTER)).body
        await site.client.delete(apiservices.KIND, NAME)
        assert b"listFlunders" not in (await ask(site, "/openapi/v2", MASTER)).body


async def test_a_certificate_of_another_authority_is_not_believed(site, extension, tmp_path):
    """It is there, but nothing is sent to it; unless the APIService says that this is fine."""
    async with extension.listening(tmp_path) as port:
        other = base64.b64encode(site.authority.pem).decode()
        await install(site, extension, port, caBundle=other)
        await condition(site, "Passed")
        found = await ask(site, f"{ROOT}/flunders", MASTER)
        assert (found.status, found.body) == (
            503,
            (
                b"error trying to reach service: tls: failed to verify certificate: "
                b"x509: certificate signed by unknown authority\n"
            ),
        )
        change = {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}}
        await site.client.patch(apiservices.KIND, NAME, change)
        assert (await ask(site, f"{ROOT}/flunders", MASTER)).status == 200


async def test_it_may_take_a_group_version_of_ours_and_give_it_back(site, extension, tmp_path):
    """metrics.k8s.io is the metrics-server's once it is installed."""
    path = "/apis/metrics.k8s.io/v1beta1/nodes"
    spec = {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
            "versionPriority": 100, "service": {"namespace": "default", "name": "none"},
            "insecureSkipTLSVerify": True}  # fmt: skip
    assert (await ask(site, path, MASTER)).status == 200
    name = "v1beta1.metrics.k8s.io"
    await site.client.create(apiservices.KIND, {"metadata": {"name": name}, "spec": spec})
    assert (await ask(site, path, MASTER)).status == 503
    await site.client.delete(apiservices.KIND, name)
    assert (await ask(site, path, MASTER)).status == 200


async def test_only_the_front_proxy_may_speak_for_others(site, extension, tmp_path):
    """Its certificate alone names nobody; another name of its authority does not count; and the
    headers of other clients are nothing.
    """
    site.http.authenticator.front_proxy = site.server.authenticator.front_proxy
    site.http._tls.load_verify_locations(cadata=extension.front.pem.decode())
    whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    headers = {"X-Remote-User": "carol", "X-Remote-Group": "devs", "X-Remote-Extra-A%2fb": "c"}

    async def asked(pair, headers, token=""):
        async with site.session(pair, token) as http:
            answer = await http.post(whoami, json={}, headers=headers)
            body = await answer.json()
            return answer.status, body.get("status", {})

    own = site.server.authenticator.front_proxy.own
    status, told = await asked(own, headers)
    assert status == 201
    assert told["userInfo"] == {
        "username": "carol", "groups": ["devs", "system:authenticated"], "extra": {"a/b": ["c"]},
    }  # fmt: skip
    assert (await asked(own, {}))[0] == 401
    assert (await asked(extension.front.client("mallory", ()), headers))[0] == 401
    client = site.authority.client("dave", ("ops",))
    assert (await asked(client, headers))[1]["userInfo"]["username"] == "dave"


async def test_a_modelled_metrics_server_leaves_the_answers_to_us(site, extension, tmp_path):
    """Its discovery says so; once it is not there, nobody answers."""

    async def listed(_request):
        body = {"groupVersion": "metrics.k8s.io/v1beta1", "resources": []}
        return http1.Response(200, json.dumps(body).encode(), [(STANDS_IN, "true")])

    async def serve(stream):
        await http1.serve_connection(stream, listed, tls=True)

    site.kubelets.pods[40000] = serve
    await install(site, extension, 0)
    labels = {"kubernetes.io/service-name": "wardle"}
    await site.client.create(kinds.ENDPOINT_SLICE, {
        "metadata": {"name": "w", "labels": labels}, "addressType": "IPv4",
        "ports": [{"name": "", "port": 40000}],
        "endpoints": [{"addresses": ["10.244.1.2"], "nodeName": "node-1"}],
    }, "default")  # fmt: skip
    spec = {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
            "versionPriority": 100, "service": {"namespace": "default", "name": "wardle"},
            "insecureSkipTLSVerify": True}  # fmt: skip
    name = "v1beta1.metrics.k8s.io"
    await site.client.create(apiservices.KIND, {"metadata": {"name": name}, "spec": spec})
    await condition(site, "Passed", name=name)
    path = "/apis/metrics.k8s.io/v1beta1/nodes"
    assert (await ask(site, path, MASTER)).status == 200
    await site.client.delete(kinds.ENDPOINT_SLICE, "w", "default")
    await condition(site, "EndpointsNotFound", name=name)
    assert (await ask(site, path, MASTER)).status == 503
