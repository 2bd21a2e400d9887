"""httpbin (kennethreitz/httpbin on 80, mccutchen/go-httpbin on 8080): requests told back.

Behaviour: postmanlabs/httpbin core.py and helpers.py under Flask and gunicorn 19.9; of go-httpbin
only its port and that values are lists (responses.go), the rest is answered as httpbin does.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from urllib.parse import parse_qs

from podwire.client import http1
from podwire.kubelet.programs import go, static
from podwire.kubelet.programs.serving import Server, now
from podwire.kubelet.shell.command import Command

MAX_DELAY_S = 10.0
MAX_BYTES = 100 * 1024
TRIES = 5
_SERVER = "gunicorn/19.9.0"
_WORKER = 8
"""The worker's process number in the image."""
_READ = "GET HEAD OPTIONS"
_EVERY = "GET HEAD OPTIONS POST PUT DELETE PATCH TRACE"
_ROUTES = {
    r"/(get|headers|ip|user-agent|uuid|cookies|bearer)": _READ,
    r"/(post)": "POST OPTIONS", r"/(put)": "PUT OPTIONS", r"/(patch)": "PATCH OPTIONS",
    r"/(delete)": "DELETE OPTIONS", r"/(anything)(?:/.*)?": _EVERY, r"/(status)/([^/]+)": _EVERY,
    r"/(delay)/([^/]+)": _EVERY, r"/(redirect-to)": _EVERY, r"/(bytes)/(\d{1,9})": _READ,
    r"/((?:relative-|absolute-)?redirect)/(\d{1,9})": _READ,
    r"/((?:hidden-)?basic-auth)/([^/]+/[^/]+)": _READ,
}  # fmt: skip
"""Paths that are modelled, with their methods."""
_NOT_MODELLED = re.compile(
    r"/(?:(?:legacy|html|robots.txt|deny|gzip|deflate|brotli|response-headers|drip|cache|xml|json"
    r"|encoding/utf8|forms/post|spec.json)?|(?:stream|cookies|digest-auth|base64|cache|etag"
    r"|stream-bytes|range|links|image|flasgger_static)(?:/.*)?)"
)
_OWN = {
    301: ("Location", "/redirect/1"), 302: ("Location", "/redirect/1"),
    303: ("Location", "/redirect/1"), 305: ("Location", "/redirect/1"),
    307: ("Location", "/redirect/1"), 401: ("WWW-Authenticate", 'Basic realm="Fake Realm"'),
    402: ("x-more-info", "http://vimeo.com/22053820"),
    407: ("Proxy-Authenticate", 'Basic realm="Fake Realm"'),
    418: ("x-more-info", "http://tools.ietf.org/html/rfc2324"),
}  # fmt: skip
"""A header that a status brings (helpers.py, status_code); bodies of 402, 406, 418 are not
modelled.
"""
_HIDDEN = {
    "Via", "X-Real-Ip", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto",
    "X-Forwarded-Protocol", "X-Forwarded-Ssl", "X-Request-Id", "X-Request-Start", "X-Varnish",
    "Connect-Time", "Total-Route-Time",
}  # fmt: skip
"""Headers of proxies, told only with ``?show_env``."""


async def run(command: Command) -> int:
    """/get /post /put /patch /delete /anything /headers /ip /user-agent /uuid /cookies /status
    /delay /redirect /redirect-to /bytes /basic-auth /bearer; httpbin's other paths answer 501.
    TERM and INT end with 0.
    """
    program = _Httpbin(command)
    port = program.port
    async with Server(command) as server:
        program.log(f"Starting {_SERVER.replace('/', ' ')}")
        for flag in (word.partition("=")[0] for word in command.args if word.startswith("-")):
            if flag not in _TAKEN:
                program.log(f"not modelled: {flag}", "WARNING")
        for _ in range(TRIES):
            try:
                await server.http(port, program.answer)
                break
            except OSError:
                program.log(f"Connection in use: ('0.0.0.0', {port})", "ERROR")
                program.log("Retrying in 1 second.", "ERROR")
                await command.env.clock.sleep(1)
        else:
            program.log(f"Can't connect to ('0.0.0.0', {port})", "ERROR")
            return 1
        program.log(f"Listening at: http://0.0.0.0:{port} (1)")
        program.log("Using worker: gevent")
        program.log(f"Booting worker with pid: {_WORKER}", pid=_WORKER)
        name = await server.until_signal()
        program.log(f"Handling signal: {name.lower()}")
        program.log(f"Worker exiting (pid: {_WORKER})", pid=_WORKER)
        program.log("Shutting down: Master")
    return 0


_TAKEN = {"-b", "--bind", "-k", "--worker-class", "-port", "--port"}
"""Flags of gunicorn and of go-httpbin that are heeded, or change nothing that shows."""


def _port(command: Command) -> int:
    words = " ".join(command.args)
    bound = re.search(r"(?:-b|--bind)[ =]\S*?:(\d{1,5})(?:\s|$)", words)
    bound = bound or re.search(r"--?port[ =](\d{1,5})(?:\s|$)", words)
    default = "8080" if "go-httpbin" in command.spec.image else "80"
    return int(bound[1] if bound else command.variables.get("PORT") or default)


class _Httpbin:
    def __init__(self, command: Command) -> None:
        self.command = command
        self.port = _port(command)
        self.lists = "go-httpbin" in command.spec.image

    def log(self, line: str, level: str = "INFO", pid: int = 1) -> None:
        """A line of gunicorn's error log; it writes no access log unless it is asked to."""
        stamp = f"{now(self.command):%Y-%m-%d %H:%M:%S} +0000"
        self.command.err(f"[{stamp}] [{pid}] [{level}] {line}\n")

    async def answer(self, request: http1.Request) -> http1.Response:
        """Route, then the headers of gunicorn before and those of CORS after."""
        response = await self._route(request)
        first = [("Server", _SERVER), ("Date", static.stamp(now(self.command)))]
        if static.keeps(request):
            first.append(("Connection", "keep-alive"))
        last = [
            ("Access-Control-Allow-Origin", request.header("origin", "*")),
            ("Access-Control-Allow-Credentials", "true"),
        ]
        if request.method == "OPTIONS":
            methods = "GET, POST, PUT, DELETE, PATCH, OPTIONS"
            last += [("Access-Control-Allow-Methods", methods), ("Access-Control-Max-Age", "3600")]
        if response.status not in {204, 304} and response.status >= 200:
            kind = response.header("content-type") or "text/html; charset=utf-8"
            first += [("Content-Type", kind), ("Content-Length", str(len(response.body)))]
        own = [field for field in response.headers if field[0] != "Content-Type"]
        response.headers = [*first, *own, *last]
        return response

    async def _route(self, request: http1.Request) -> http1.Response:
        for way, methods in _ROUTES.items():
            if (found := re.fullmatch(way, request.path)) is None:
                continue
            allowed = ("Allow", ", ".join(methods.split()))
            if request.method not in methods.split():
                return _page(405, allowed)
            if request.method == "OPTIONS":
                return http1.Response(200, b"", [allowed])
            return await self._modelled(request, found[1], found[2] if found.re.groups > 1 else "")
        if _NOT_MODELLED.fullmatch(request.path):
            return http1.text(f"not modelled: {request.path}\n", 501)
        return _page(404)

    async def _modelled(self, request: http1.Request, what: str, rest: str) -> http1.Response:
        rng = self.command.env.rng
        if what == "status":
            return self._status(rest)
        if what == "delay":
            if not re.fullmatch(r"\d{1,6}(?:\.\d{1,6})?", rest):
                return _page(500)
            await self.command.env.clock.sleep(min(float(rest), MAX_DELAY_S))
        if what.endswith("redirect"):
            return self._redirect(request, what, int(rest))
        if what == "redirect-to":
            code = request.query.get("status_code", "302")
            status = int(code) if re.fullmatch(r"3\d\d", code) else 302
            to = request.query.get("url")
            return http1.Response(status, b"", [("Location", to)]) if to else _page(500)
        if what == "bytes":
            kind = [("Content-Type", "application/octet-stream")]
            return http1.Response(200, rng.bytes(min(int(rest), MAX_BYTES)), kind)
        if what == "uuid":
            return _json({"uuid": str(uuid.UUID(bytes=rng.bytes(16), version=4))})
        if what.endswith("basic-auth") or what == "bearer":
            return _authorized(request, what, rest)
        if "multipart/form-data" in request.header("content-type"):
            return http1.text("not modelled: multipart/form-data\n", 501)
        return _json(self._told(request, what))

    def _status(self, codes: str) -> http1.Response:
        """One status, or one drawn from ``200,503:2`` by weight."""
        if not re.fullmatch(r"\d{3}(?::\d{1,4})?(?:,\d{3}(?::\d{1,4})?)*", codes):
            return http1.Response(400, b"Invalid status code", [])
        drawn: list[int] = []
        for choice in codes.split(","):
            code, _, weight = choice.partition(":")
            drawn += [int(code)] * (int(weight) if weight else 1)
        status = self.command.env.rng.choice(drawn) if len(drawn) > 1 else int(codes[:3])
        if not 200 <= status < 1000:
            return http1.text(f"not modelled: status {status}\n", 501)
        return http1.Response(status, b"", [_OWN[status]] if status in _OWN else [])

    def _redirect(self, request: http1.Request, what: str, times: int) -> http1.Response:
        if times < 1:
            return _page(500)
        absolute = what == "absolute-redirect" or request.query.get("absolute") == "true"
        way = "absolute-redirect" if absolute else "relative-redirect"
        to = "/get" if times == 1 else f"/{way}/{times - 1}"
        base = f"http://{request.header('host')}" if absolute else ""
        return http1.Response(302, b"", [("Location", base + to)])

    def _told(self, request: http1.Request, what: str) -> dict[str, object]:
        headers, origin = self._headers(request), request.header("x-forwarded-for")
        origin = origin or request.peer[0]
        if what in {"headers", "ip", "user-agent", "cookies"}:
            pairs = (pair.partition("=") for pair in request.header("cookie").split(";"))
            cookies = {name.strip(): value for name, mark, value in pairs if mark}
            agent = request.header("user-agent") or None
            parts: dict[str, object] = {
                "headers": headers, "ip": origin, "user-agent": agent, "cookies": cookies,
            }  # fmt: skip
            return {"origin" if what == "ip" else what: parts[what]}
        scheme = request.header("x-forwarded-proto", "http")
        told: dict[str, object] = {
            "args": self._values(request.target.partition("?")[2]), "headers": headers,
            "origin": origin, "url": f"{scheme}://{request.header('host')}{request.target}",
        }  # fmt: skip
        if what == "anything" or self.lists:
            told["method"] = request.method
        if what == "get":
            return told
        text = request.body.decode(errors="replace")
        formed = "application/x-www-form-urlencoded" in request.header("content-type")
        told |= {"data": "" if formed else text, "files": {}}
        told["form"] = self._values(text) if formed else {}
        return told if what == "delay" else told | {"json": _loaded("" if formed else text)}

    def _values(self, query: str) -> dict[str, object]:
        found = parse_qs(query, keep_blank_values=True)
        return {
            name: values[0] if len(values) == 1 and not self.lists else values
            for name, values in found.items()
        }

    def _headers(self, request: http1.Request) -> dict[str, object]:
        found: dict[str, list[str]] = {}
        for name, value in request.headers:
            if go.canonical(name) not in _HIDDEN or "show_env" in request.query:
                found.setdefault(go.canonical(name), []).append(value)
        if self.lists:
            return dict(found)
        return {name: ",".join(values) for name, values in found.items()}


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _authorized(request: http1.Request, what: str, rest: str) -> http1.Response:
    scheme, _, given = request.header("authorization").partition(" ")
    if what == "bearer":
        if scheme == "Bearer":
            return _json({"authenticated": True, "token": given})
        return http1.Response(401, b"", [("WWW-Authenticate", "Bearer")])
    user, _, password = rest.partition("/")
    expected = base64.b64encode(f"{user}:{password}".encode()).decode()
    if scheme.lower() == "basic" and given.strip() == expected:
        return _json({"authenticated": True, "user": user})
    if what.startswith("hidden"):
        return http1.Response(404)
    return http1.Response(401, b"", [_OWN[401]])


def _page(status: int, *more: tuple[str, str]) -> http1.Response:
    """An error page with the form of werkzeug's; what it explains is not modelled."""
    reason = http1.REASONS[status]
    body = (
        '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n'
        f"<title>{status} {reason}</title>\n<h1>{reason}</h1>\n"
    )
    return http1.Response(status, body.encode(), [("Content-Type", "text/html"), *more])


def _json(value: object) -> http1.Response:
    """Flask's JSON: sorted, and a blank after each comma even at the end of a line."""
    body = json.dumps(value, indent=2, sort_keys=True, separators=(", ", ": ")) + "\n"
    return http1.text(body, kind="application/json")
