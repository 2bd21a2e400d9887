"""podinfo (stefanprodan/podinfo 6.9.2): its JSON, its probes that can be switched off.

Behaviour: cmd/podinfo/main.go, pkg/api/http, pkg/signals; gorilla/mux for 404 and 405.
"""

from __future__ import annotations

import re
from contextlib import suppress

from podwire.client import grpc, http1
from podwire.kubelet.programs import go
from podwire.kubelet.programs.agnhost_grpc import Ask, health_service
from podwire.kubelet.programs.serving import Server, in_use, now
from podwire.kubelet.shell.command import Command, UsageError
from podwire.runtime.tasks import Event, first

VERSION = "6.9.2"
REVISION = "unknown"
PANIC = 255
LINGER_S = 3.0
"""How long it goes on after TERM, unready, unless its log level is debug."""
_LOGO = "https://raw.githubusercontent.com/stefanprodan/podinfo/gh-pages/cuddle_clap.gif"
_DEFAULTS = {
    "host": "", "port": "9898", "secure-port": "0", "port-metrics": "0", "grpc-port": "0",
    "grpc-service-name": "podinfo", "level": "info", "backend-url": "", "http-client-timeout": "2m",
    "http-server-timeout": "30s", "server-shutdown-timeout": "5s", "data-path": "/data",
    "config-path": "", "cert-path": "/data/cert", "config": "config.yaml", "ui-path": "./ui",
    "ui-logo": _LOGO, "ui-color": "#34577c", "ui-message": f"greetings from podinfo v{VERSION}",
    "random-delay-unit": "s", "random-delay-min": "0", "random-delay-max": "5", "stress-cpu": "0",
    "stress-memory": "0", "cache-server": "", "otel-service-name": "",
}  # fmt: skip
_SWITCHES = ("h2c", "random-delay", "random-error", "unhealthy", "unready", "version", "v")
_TOLD = (
    "host", "http-server-timeout", "server-shutdown-timeout", "config", "h2c", "stress-cpu",
    "stress-memory", "otel-service-name",
)  # fmt: skip
"""Settings whose effect is not modelled, and which no path that answers 501 tells."""
_ROUTES = {
    r"/": "GET", r"/api/info": "GET", r"/version": "GET", r"/env": "GET POST",
    r"/headers": "GET POST", r"/healthz": "GET", r"/readyz": "GET",
    r"/readyz/(?:enable|disable)": "POST", r"/panic": "GET", r"/configs": "GET",
    r"/status/\d+": "GET POST PUT", r"/delay/\d+": "GET", r"(?:/api)?/echo(?:/.*)?": "",
    r"/store": "POST PUT", r"/store/[^/]+": "GET", r"/cache/[^/]+": "GET POST PUT DELETE",
    r"/token": "POST", r"/token/validate": "GET", r"/metrics": "", r"/debug/pprof/.*": "",
    r"/ws/echo": "", r"/chunked(?:/\d+)?": "", r"/swagger/.*": "", r"/swagger\.json": "",
}  # fmt: skip
"""Paths and their methods; all methods where none is named."""


async def run(command: Command) -> int:
    """``podinfo`` with its flags, also as PODINFO_*: / /version /env /headers /echo /healthz
    /readyz /status/N /delay/N /panic /configs, gRPC's health; metrics, other gRPC, store, cache,
    tokens, streams and the page for browsers (they get JSON) are not modelled (501). Settings
    without effect are named in a warning.
    """
    try:
        given, _ = go.parse(command.args, _DEFAULTS, _SWITCHES)
    except UsageError as error:
        what, _, name = str(error).partition(": -")
        why = "unknown flag" if "not defined" in what else what
        command.err(f"Error: {why}: --{name}\n\n")
        return error.code
    if given.get("version") == "true" or given.get("v") == "true":
        command.out(f"{VERSION}\n")
        return 0
    program = _Podinfo(command, given)
    port, grpc_port, metrics = (
        program.number(name) for name in ("port", "grpc-port", "port-metrics")
    )
    program.log("Starting podinfo", "podinfo/main.go:153", version=VERSION, revision=REVISION,
                port=str(port))  # fmt: skip
    program.tell_what_is_not_modelled()
    async with Server(command) as server:
        if not (await program.serve(server, port) and await program.serve_tls(server)):
            return 1
        with suppress(OSError):  # podinfo looks at no error of this one
            if metrics:
                await server.http(metrics, program.measured)
        try:
            if grpc_port:
                await server.grpc(grpc_port, health_service(program.health))
        except OSError:
            program.log("failed to listen", "grpc/server.go:71", "fatal", port=grpc_port)
            return 1
        which, _ = await first(server.until_signal("TERM", "INT"), program.over.wait())
        if which:
            return PANIC
        program.alive = dict.fromkeys(program.alive, False)
        program.log("Shutting down HTTP/HTTPS server", "signals/shutdown.go:49", timeout=5)
        if program.setting("level") != "debug":
            await command.env.clock.sleep(LINGER_S)
    return 0


class _Podinfo:
    def __init__(self, command: Command, given: dict[str, str]) -> None:
        self.command = command
        self.given = given
        self.alive = {
            "/healthz": not self.on("unhealthy"), "/readyz": not self.on("unready"),
        }  # fmt: skip
        self.over = Event()

    def setting(self, name: str) -> str:
        """A flag, PODINFO_NAME, or the default."""
        variable = f"PODINFO_{name.upper().replace('-', '_')}"
        value = self.given.get(name) or self.command.variables.get(variable)
        return value or _DEFAULTS.get(name, "")

    def number(self, name: str) -> int:
        """A setting that is a number; its default when it is none."""
        text = self.setting(name)
        return int(text if re.fullmatch(r"\d{1,9}", text) else _DEFAULTS[name])

    def on(self, name: str) -> bool:
        """A switch."""
        return self.setting(name).lower() in {"1", "t", "true"}

    def log(self, message: str, caller: str, level: str = "info", **fields: object) -> None:
        """A line of zap's JSON on stderr; podinfo logs no request above level debug."""
        stamp = f"{now(self.command):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        line = {"level": level, "ts": stamp, "caller": caller, "msg": message, **fields}
        self.command.err(f"{go.marshal(line)}\n")

    def tell_what_is_not_modelled(self) -> None:
        """One warning for the settings that change nothing here."""
        names = [n for n in _TOLD if self.setting(n) != _DEFAULTS.get(n, "") and self.setting(n)]
        if self.setting("level") not in {"info", "warn", "error"}:
            names.append("level")  # requests are not logged
        if names:
            self.log("not modelled", "podwire", "warn", flags=[f"--{name}" for name in names])

    async def serve(self, server: Server, port: int) -> bool:
        """Plain HTTP, unless the port is 0; whether that went well."""
        if not port:
            return True
        self.log("Starting HTTP Server.", "http/server.go:224", addr=f":{port}")
        try:
            await server.http(port, self.answer)
        except OSError as error:
            why = f"listen tcp :{port}: bind: {in_use(error)}"
            self.log("HTTP server crashed", "http/server.go:226", "fatal", error=why)
            return False
        return True

    async def serve_tls(self, server: Server) -> bool:
        """HTTPS where a port is given, with a certificate that has to be there."""
        port, place = self.number("secure-port"), self.setting("cert-path")
        if not port:
            return True
        self.log("Starting HTTPS Server.", "http/server.go:256", addr=f":{port}")
        why = ""
        try:
            for name in ("tls.crt", "tls.key"):
                self.command.env.read_file(f"{place}/{name}")
            await server.http(port, self.answer, tls=True)
        except FileNotFoundError:
            why = f"open {place}/{name}: no such file or directory"
        except OSError as error:
            why = f"listen tcp :{port}: bind: {in_use(error)}"
        if why:
            self.log("HTTPS server crashed", "http/server.go:258", "fatal", error=why)
        return not why

    @property
    def health(self) -> Ask:
        """Who asks by gRPC: the service's own name is always SERVING."""
        name = self.setting("grpc-service-name")
        return lambda service: grpc.Health.SERVING if service in {"", name} else None

    async def measured(self, request: http1.Request) -> http1.Response:
        """The port of metrics, which has a probe of its own."""
        if request.path == "/healthz":
            return go.answer(self.command, "OK")
        return go.error(self.command, f"not modelled: {request.path}", 501)

    async def answer(self, request: http1.Request) -> http1.Response:
        """Route by path and method."""
        command, path = self.command, request.path
        methods = next((m for way, m in _ROUTES.items() if re.fullmatch(way, path)), None)
        if methods is None:
            return go.error(command, "404 page not found", 404)
        if methods and request.method not in methods.split():
            return go.answer(command, b"", 405)
        if self.on("random-delay"):
            least, most = self.number("random-delay-min"), self.number("random-delay-max")
            drawn = least + command.env.rng.below(max(1, most - least))
            unit_s = 0.001 if self.setting("random-delay-unit") == "ms" else 1.0
            await command.env.clock.sleep(drawn * unit_s)
        if self.on("random-error") and command.env.rng.below(3) == 0:
            return go.answer(command, b"", command.env.rng.choice((500, 400, 409)))
        if path in self.alive:
            return self._json({"status": "OK"}) if self.alive[path] else go.answer(command, "", 503)
        if path.startswith("/readyz/"):
            self.alive["/readyz"] = path.endswith("enable")
            return go.answer(command, b"", 202)
        if number := re.fullmatch(r"/(status|delay)/(\d{1,9})", path):
            return await self._number(number[1], int(number[2]))
        return self._plain(request)

    async def _number(self, what: str, number: int) -> http1.Response:
        if what == "delay":
            await self.command.env.clock.sleep(number)
            return self._json({"delay": number})
        if 100 <= number < 200:
            return go.error(self.command, f"not modelled: status {number}", 501)
        if not 200 <= number < 1000:  # net/http panics in WriteHeader, and the connection is over
            raise ConnectionAbortedError(f"invalid WriteHeader code {number}")
        return self._json({"status": number}, number)

    def _plain(self, request: http1.Request) -> http1.Response:
        command, path = self.command, request.path
        if path in {"/", "/api/info"}:
            return self._json(self._about())
        if path == "/version":
            return self._json({"commit": REVISION, "version": VERSION})
        if path == "/env":
            return self._json([f"{name}={value}" for name, value in command.variables.items()])
        if path == "/headers":
            added = {"X-Api-Revision": [REVISION], "X-Api-Version": [VERSION]}
            return self._json(dict(sorted((go.headers(request) | added).items())))
        if re.match(r"(?:/api)?/echo", path) and not self.setting("backend-url"):
            return go.answer(command, request.body, 202, {"X-Color": self.setting("ui-color")})
        if path == "/configs" and not self.setting("config-path"):
            return self._json({})
        if path == "/panic":
            self.log("Panic command received", "http/panic.go:14")
            self.over.set()
            raise ConnectionAbortedError("the process is over")
        return go.error(command, f"not modelled: {path}", 501)

    def _json(self, value: object, status: int = 200) -> http1.Response:
        own = {"Content-Type": "application/json; charset=utf-8", **go.NOSNIFF}
        return go.answer(self.command, go.marshal(value, indent=2), status, own)

    def _about(self) -> dict[str, str]:
        spec = self.command.spec
        return {
            "hostname": spec.hostname or spec.pod, "version": VERSION, "revision": REVISION,
            "color": self.setting("ui-color"), "logo": self.setting("ui-logo"),
            "message": self.setting("ui-message"), "goos": "linux", "goarch": "amd64",
            "runtime": "go1.25.1", "num_goroutine": "8", "num_cpu": "4",
        }  # fmt: skip
