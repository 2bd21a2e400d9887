"""agnhost's smaller subcommands: liveness, logs-generator, entrypoint-tester, nettest ..."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta

from podwire.client import http1
from podwire.client.http1 import HttpError, Request, Response
from podwire.kubelet.programs import names
from podwire.kubelet.programs.go import flags
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.sleep import go_duration_s

HEALTHY_S = 10.0
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105  a path
DIAL_TIMEOUT_S = 30.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def klog(command: Command, text: str, level: str = "I") -> None:
    """A line as klog writes it."""
    now = _EPOCH + timedelta(microseconds=command.env.clock.now_ns() // 1000)
    command.err(f"{level}{now:%m%d %H:%M:%S.%f}       1 agnhost.go:1] {text}\n")


def _number(given: dict[str, str], name: str, default: str) -> int:
    text = given.get(name, default)
    if not text.isascii() or not text.lstrip("-").isdigit() or len(text) > 9:
        raise UsageError(f'invalid argument "{text}" for "--{name}" flag')
    return int(text)


async def entrypoint_tester(command: Command, _args: list[str]) -> int:
    """Print all words it was started with."""
    command.out(f"[{' '.join(command.argv)}]\n")
    return 0


async def logs_generator(command: Command, args: list[str]) -> int:
    """``logs-generator --log-lines-total N --run-duration D``: lines at an even pace."""
    given = flags(args)
    total = _number(given, "log-lines-total", given.get("t", "0"))
    duration_s = go_duration_s(given.get("run-duration", given.get("d", "0s")))
    if total <= 0 or duration_s <= 0:
        what = f"total number of lines: {total}" if total <= 0 else "duration: 0s"
        klog(command, f"Invalid {what}", "F")
        return 255
    rng = command.env.rng
    for number in range(total):
        pod = "".join(rng.choice(_LETTERS) for _ in range(3 + rng.below(2)))
        url = f"/api/v1/namespaces/{rng.choice(('kube-system', 'default', 'ns'))}/pods/{pod}"
        klog(command, f"{number} {rng.choice(('GET', 'POST', 'PUT'))} {url} {200 + rng.below(400)}")
        await command.env.drained()
        await command.env.clock.sleep(duration_s / total)
    return 0


async def liveness(command: Command, _args: list[str]) -> int:
    """Serves 8080: /healthz is well for 10 s and ill ever after; /started, /redirect."""
    clock = command.env.clock
    began_ns = clock.monotonic_ns()

    async def answer(request: Request) -> Response:
        age_s = (clock.monotonic_ns() - began_ns) / 1e9
        if request.path == "/started":
            return http1.text(f"{age_s:.9g}s")
        if request.path == "/healthz":
            ill = age_s > HEALTHY_S
            return http1.text(f"error: {age_s:.9g}" if ill else "ok", 500 if ill else 200)
        if request.path == "/redirect":
            return Response(302, b"", [("Location", request.query.get("loc", ""))])
        return http1.text("404 page not found\n", 404)

    async with Server(command) as server:
        try:
            await server.http(8080, answer)
        except OSError as error:
            command.err(f"listen tcp :8080: bind: {in_use(error)}\n")
            return 1
        await server.until_signal("TERM")
    return TERMINATED


async def _ask(command: Command, path: str, *, body: bytes = b"", place: str = "") -> Response:
    """An HTTP request: to the API server with the container's token, or to ``place`` without.

    Raises OSError, HttpError.
    """
    spec, variables = command.spec, command.variables
    host = variables.get("KUBERNETES_SERVICE_HOST", "")
    port = variables.get("KUBERNETES_SERVICE_PORT", "")
    headers: dict[str, str] = {}
    if place:
        host, _, port = place.rpartition(":")
    else:
        token = command.env.read_file(TOKEN).decode().strip()
        headers["Authorization"] = f"Bearer {token}"
    found = await names.lookup(command.env, command.image.libc, host.strip("[]"))
    if not found.addresses or not port.isdigit():
        raise OSError(f"lookup {host}: no such host")
    stream = await command.env.sockets.connect(
        spec.node, spec.netns, found.addresses[0], int(port), DIAL_TIMEOUT_S
    )
    try:
        return await http1.fetch(
            stream, "POST" if body else "GET", path, f"{host}:{port}", headers, body,
            tls_name="" if place else host,
        )  # fmt: skip
    finally:
        await stream.close()


async def inclusterclient(command: Command, args: list[str]) -> int:
    """``inclusterclient [--poll-interval 30]``: asks the API server's /healthz again and again."""
    pause_s = _number(flags(args), "poll-interval", "30")
    klog(command, "started")
    if not command.variables.get("KUBERNETES_SERVICE_HOST"):
        why = "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and "
        command.err(f"err: {why}KUBERNETES_SERVICE_PORT must be defined\n")
        return 1
    while True:
        await command.env.clock.sleep(max(pause_s, 1))
        klog(command, "calling /healthz")
        try:
            token = command.env.read_file(TOKEN).decode().strip()
            digest = hashlib.sha256(f"salt|Bearer {token}".encode()).digest()
            shown = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            klog(command, f"authz_header={shown}")
            response = await _ask(command, "/healthz")
            failed = "" if response.status == 200 else response.body.decode(errors="replace")
        except (OSError, HttpError) as error:
            failed = str(error)
        if failed:
            klog(command, "status=failed", "E")
            klog(command, f"error checking /healthz: {failed}", "E")


class _NetTest:
    """The state of nettest, as /read tells it."""

    def __init__(self, command: Command, service: str, namespace: str, peers: int) -> None:
        self.command = command
        self.service, self.namespace, self.peers = service, namespace, peers
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}
        self.log: list[str] = []
        self.contacting = True

    async def answer(self, request: Request) -> Response:
        """/read, /write, /status."""
        name = self.command.spec.hostname or self.command.spec.pod
        if request.path == "/status":
            done = len(self.sent) >= self.peers and len(self.received) >= self.peers
            return http1.text("pass" if done else "running" if self.contacting else "fail")
        if request.path == "/write":
            try:
                source = str(json.loads(request.body)["Source"])
            except (ValueError, KeyError, TypeError):
                return http1.text("bad request\n", 400)
            self.received[source] = self.received.get(source, 0) + 1
            return http1.text(json.dumps({"Hostname": name}) + "\n")
        if request.path != "/read":
            return http1.text("404 page not found\n", 404)
        state = {
            "Hostname": name, "Sent": self.sent, "Received": self.received, "Errors": None,
            "Log": self.log, "StillContactingPeers": self.contacting,
        }  # fmt: skip
        return http1.text(json.dumps(state, indent="\t"))

    async def contact(self) -> None:
        """Wait until enough peers are there, then tell each of them, fifteen times."""
        pause_s = max(5.0, self.peers // 10)
        clock = self.command.env.clock
        until_ns = clock.monotonic_ns() + int(max(300, self.peers) * 1e9)
        while len(found := await self._endpoints()) < self.peers:
            where = f"{self.namespace}/{self.service}"
            self._say(f"{where} has {len(found)} endpoints, which is less than {self.peers}")
            if clock.monotonic_ns() >= until_ns:
                break
            await clock.sleep(pause_s)
        for _ in range(15):
            for place in await self._endpoints():
                await self._greet(place)
            await clock.sleep(pause_s)
        self.contacting = False

    def _say(self, text: str) -> None:
        self.log = [*self.log[-499:], text]

    async def _endpoints(self) -> list[str]:
        path = f"/api/v1/namespaces/{self.namespace}/endpoints/{self.service}"
        try:
            response = await _ask(self.command, path)
            subsets = json.loads(response.body).get("subsets") or []
        except (OSError, HttpError, ValueError) as error:
            self._say(f"Unable to read the endpoints for {path}: {error}.")
            return []
        return sorted(
            f"{address['ip']}:{port['port']}"
            for subset in subsets
            for address in subset.get("addresses") or []
            for port in subset.get("ports") or []
        )

    async def _greet(self, place: str) -> None:
        name = self.command.spec.hostname or self.command.spec.pod
        self._say(f"Attempting to contact http://{place}")
        body = json.dumps({"Source": name, "Dest": f"http://{place}"}).encode()
        try:
            response = await _ask(self.command, "/write", body=body, place=place)
            other = str(json.loads(response.body)["Hostname"])
        except (OSError, HttpError, ValueError, KeyError) as error:
            self._say(f"Warning: unable to contact the endpoint {place}: {error}")
            return
        self.sent[other] = self.sent.get(other, 0) + 1


async def nettest(command: Command, args: list[str]) -> int:
    """``nettest [--port 8080] [--peers 8] [--service nettest] [--namespace default]``."""
    given = flags(args)
    port = _number(given, "port", "8080")
    test = _NetTest(
        command, given.get("service", "nettest"), given.get("namespace", "default"),
        _number(given, "peers", "8"),
    )  # fmt: skip
    async with Server(command) as server:
        try:
            await server.http(port, test.answer)
        except OSError as error:
            command.err(f"listen tcp :{port}: bind: {in_use(error)}\n")
            return 1
        server.tasks.start(test.contact(), name="nettest")
        await server.until_signal("TERM")
        await command.env.clock.sleep(_number(given, "delay-shutdown", "0"))
    return TERMINATED
