"""nginx with its default site: the welcome page, files below the web root, access log.

Behaviour: nginx/nginx src/http (static, index, not_modified, range and header filters) and
conf/mime.types, nginx/docker-nginx (entrypoint, log format ``main``).
"""

from __future__ import annotations

import errno
import os
import re
from urllib.parse import quote

from podwire.client import http1
from podwire.kubelet.programs import static
from podwire.kubelet.programs.serving import Server, now
from podwire.kubelet.shell.command import Command

VERSION = "1.29.3"
WORKER = 29
"""The worker's process number: the entrypoint's scripts took the numbers before it."""
TRIES = 5
ROOT = "/usr/share/nginx/html"
_INDEXES = ("index.html", "index.htm")
_REASONS = {206: "Partial Content", 405: "Not Allowed", 416: "Requested Range Not Satisfiable"}
_AFTER = {"ETag", "Accept-Ranges", "Content-Range"}
"""Headers that come after Connection (ngx_http_header_filter writes those it knows first)."""
_TYPES = {
    "html": "text/html", "htm": "text/html", "txt": "text/plain", "css": "text/css",
    "xml": "text/xml", "json": "application/json", "js": "application/javascript",
    "png": "image/png", "svg": "image/svg+xml", "gif": "image/gif", "jpg": "image/jpeg",
    "jpeg": "image/jpeg", "ico": "image/x-icon", "webp": "image/webp", "pdf": "application/pdf",
    "zip": "application/zip", "wasm": "application/wasm", "woff": "font/woff",
    "woff2": "font/woff2", "mp4": "video/mp4", "mp3": "audio/mpeg", "pem":
    "application/x-x509-ca-cert", "crt": "application/x-x509-ca-cert",
}  # fmt: skip
WELCOME = """<!DOCTYPE html>
<html>
<head>
<title>Welcome to nginx!</title>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>This is podwire's model of nginx with its default site.</p>
</body>
</html>
"""


class _Site:
    def __init__(self, command: Command) -> None:
        self.command = command
        self.version = _version(command)
        self.root, self.ports = _configuration(command)
        self.began = now(command)
        self.connections = 0
        self.peer = ("", 0)
        self.ships_page = self.root == ROOT and not command.env.list_files(ROOT)
        """Whether the image's own page is there: a volume over the web root hides it."""

    async def answer(self, request: http1.Request) -> http1.Response:
        """A file of the root, the welcome page, or an error page; one access log line."""
        if request.peer != self.peer:
            self.connections, self.peer = self.connections + 1, request.peer
        response = self._find(request)
        kept = [("Connection", "keep-alive")] if static.keeps(request) else []
        at = next(
            (n for n, (name, _) in enumerate(response.headers) if name in _AFTER),
            len(response.headers),
        )
        response.headers[at:at] = kept
        date = static.stamp(now(self.command))
        response.headers = [("Server", self.version), ("Date", date), *response.headers]
        sent = 0 if request.method == "HEAD" else len(response.body)
        self.command.out(
            f"{request.peer[0]} - - [{now(self.command):%d/%b/%Y:%H:%M:%S} +0000] "
            f'"{request.method} {request.target} {request.version}" {response.status} '
            f'{sent} "{request.header("referer", "-")}" '
            f'"{request.header("user-agent", "-")}" "{request.header("x-forwarded-for", "-")}"\n'
        )
        return response

    def plain(self) -> bytes:
        """What plain HTTP is told on a port of TLS."""
        why = "The plain HTTP request was sent to HTTPS port"
        body = (
            f"<html>\r\n<head><title>400 {why}</title></head>\r\n<body>\r\n"
            f"<center><h1>400 Bad Request</h1></center>\r\n<center>{why}</center>\r\n"
            f"<hr><center>{self.version}</center>\r\n</body>\r\n</html>\r\n"
        )
        date = static.stamp(now(self.command))
        fields = [("Server", self.version), ("Date", date), ("Content-Type", "text/html")]
        return http1.encode_response(http1.Response(400, body.encode(), fields), close=True)

    def say(self, line: str, level: str = "notice", process: str = "1#1") -> None:
        """A line of the error log."""
        stamp = f"{now(self.command):%Y/%m/%d %H:%M:%S}"
        self.command.err(f"{stamp} [{level}] {process}: {line}\n")

    def _error(self, status: int, *more: tuple[str, str]) -> http1.Response:
        reason = _REASONS.get(status) or http1.REASONS[status]
        title = f"{status} {reason}"
        body = (
            f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
            f"<center><h1>{title}</h1></center>\r\n<hr><center>{self.version}</center>\r\n"
            "</body>\r\n</html>\r\n"
        )
        fields = [("Content-Type", "text/html"), ("Content-Length", str(len(body))), *more]
        return http1.Response(status, body.encode(), fields, reason)

    def _fault(self, request: http1.Request, status: int, what: str) -> http1.Response:
        referrer = request.header("referer")
        self.say(
            f"*{self.connections} {what}, client: {request.peer[0]}, server: localhost, "
            f'request: "{request.method} {request.target} {request.version}", '
            f'host: "{request.header("host")}"' + f', referrer: "{referrer}"' * bool(referrer),
            "error",
            f"{WORKER}#{WORKER}",
        )
        return self._error(status)

    def _find(self, request: http1.Request) -> http1.Response:
        if request.method not in {"GET", "HEAD", "POST"}:
            return self._error(405)
        path = static.clean(request.path)
        if not path:
            return self._error(400)
        names = [path + index for index in _INDEXES] if path.endswith("/") else [path]
        for name in names:
            body = self._read(name)
            if body is not None:
                return (
                    self._error(405)
                    if request.method == "POST"
                    else self._file(request, name, body)
                )
        place = self.root + path
        directory = path == "/" or static.is_directory(self.command.env.list_files(place), place)
        if path.endswith("/"):
            if directory:
                what = f'directory index of "{place}" is forbidden'
                return self._fault(request, 403, what)
            what = f'"{place}{_INDEXES[0]}" is not found (2: No such file or directory)'
            return self._fault(request, 404, what)
        if directory:
            return self._error(301, ("Location", self._slashed(request, path)))
        what = f'open() "{place}" failed (2: No such file or directory)'
        return self._fault(request, 404, what)

    def _slashed(self, request: http1.Request, path: str) -> str:
        port = request.local[1]
        tls = dict(self.ports).get(port, False)
        host = re.sub(r":\d+$", "", request.header("host"))
        shown = "" if port in {0, 443 if tls else 80} else f":{port}"
        query = request.target.partition("?")
        return f"http{'s' * tls}://{host}{shown}{quote(path)}/{query[1]}{query[2]}"

    def _read(self, name: str) -> bytes | None:
        try:
            return self.command.env.read_file(self.root + name)
        except (FileNotFoundError, IsADirectoryError):
            return WELCOME.encode() if name == "/index.html" and self.ships_page else None

    def _file(self, request: http1.Request, name: str, body: bytes) -> http1.Response:
        changed, size = static.stamp(self.began), len(body)
        etag = f'"{int(self.began.timestamp()):x}-{size:x}"'
        marks = [("Last-Modified", changed), ("ETag", etag)]
        if static.fresh(request, etag, changed):
            return http1.Response(304, b"", marks)
        status, more = 200, ("Accept-Ranges", "bytes")
        if asked := static.part(request, size):
            first, last = asked
            if first > last:
                return self._error(416, ("Content-Range", f"bytes */{size}"))
            status, body = 206, body[first : last + 1]
            more = ("Content-Range", f"bytes {first}-{last}/{size}")
        kind = _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        fields = [("Content-Type", kind), ("Content-Length", str(len(body))), *marks, more]
        return http1.Response(status, body, fields, _REASONS.get(status, ""))


def _version(command: Command) -> str:
    return f"nginx/{static.version(command.spec.image, VERSION)}"


def _configuration(command: Command) -> tuple[str, list[tuple[int, bool]]]:
    """Root and (port, TLS) from a mounted default.conf; other directives are not modelled."""
    for path in ("/etc/nginx/conf.d/default.conf", "/etc/nginx/nginx.conf"):
        try:
            text = command.env.read_file(path).decode(errors="replace")
        except FileNotFoundError:
            continue
        text = re.sub(r"#.*", "", text)
        for word in ("proxy_pass", "upstream", "return", "rewrite", "stream"):
            if re.search(rf"\b{word}\b", text):
                command.err(f"podwire: '{word}' in {path} is not modelled\n")
        root = re.search(r"\broot\s+([^;\s]+)", text)
        found = re.findall(r"\blisten\s+(?:[\d.]+:|\[::\]:)?(\d{1,5})([^;]*);", text)
        ports = {int(port): " ssl" in rest for port, rest in found}
        return root[1] if root else ROOT, list(ports.items()) or [(80, False)]
    port = 8080 if "unprivileged" in command.spec.image else 80
    return ROOT, [(port, False)]


async def run(command: Command) -> int:
    """``nginx -g 'daemon off;'``: QUIT is graceful, TERM fast; both exit 0."""
    scripted = command.name == "docker-entrypoint.sh"
    words = command.args[1:] if command.args[:1] == ["nginx"] else command.args
    if words and not words[0].startswith("-"):
        return command.fail(f"exec: {words[0]}: not found", 127)
    if words[:1] == ["-v"]:
        command.err(f"nginx version: {_version(command)}\n")
        return 0
    if words[:1] in (["-t"], ["-T"]):
        for verdict in ("the configuration file {} syntax is ok", "configuration file {} test is"):
            end = "" if verdict.endswith("ok") else " successful"
            command.err(f"nginx: {verdict.format('/etc/nginx/nginx.conf')}{end}\n")
        return 0
    if scripted and not command.variables.get("NGINX_ENTRYPOINT_QUIET_LOGS"):
        command.out("".join(f"{line}\n" for line in _entrypoint()))
    site = _Site(command)
    async with Server(command) as server:
        for port, tls in site.ports:
            if not await _bind(server, site, port, tls):
                return 1
        for line in ('using the "epoll" event method', site.version, "start worker processes"):
            site.say(line)
        site.say(f"start worker process {WORKER}")
        name = await server.until_signal()
    _over(site, name)
    return 0


def _entrypoint() -> list[str]:
    """What the image's entrypoint says (nginx/docker-nginx, entrypoint/)."""
    me, place, conf = "/docker-entrypoint.sh", "/docker-entrypoint.d", "etc/nginx/conf.d"
    ipv6 = f"10-listen-on-ipv6-by-default.sh: info: %s /{conf}/default.conf"
    return [
        f"{me}: {place}/ is not empty, will attempt to perform configuration",
        f"{me}: Looking for shell scripts in {place}/",
        f"{me}: Launching {place}/10-listen-on-ipv6-by-default.sh",
        ipv6 % "Getting the checksum of",
        ipv6 % "Enabled listen on IPv6 in",
        f"{me}: Sourcing {place}/15-local-resolvers.envsh",
        f"{me}: Launching {place}/20-envsubst-on-templates.sh",
        f"{me}: Launching {place}/30-tune-worker-processes.sh",
        f"{me}: Configuration complete; ready for start up",
    ]


async def _bind(server: Server, site: _Site, port: int, tls: bool) -> bool:
    """Listen; a port in use is tried five times (ngx_open_listening_sockets)."""
    for _ in range(TRIES):
        try:
            await server.http(port, site.answer, tls=tls, plain=site.plain)
        except OSError as error:
            what = (
                f"bind() to 0.0.0.0:{port} failed ({error.errno}: {os.strerror(error.errno or 0)})"
            )
            site.say(what, "emerg")
            site.command.err(f"nginx: [emerg] {what}\n")
            if error.errno != errno.EADDRINUSE:
                return False
            await site.command.env.clock.sleep(0.5)
        else:
            return True
    site.say("still could not bind()", "emerg")
    site.command.err("nginx: [emerg] still could not bind()\n")
    return False


def _over(site: _Site, name: str) -> None:
    """What master and worker say when they end."""
    number = {"TERM": 15, "INT": 2, "QUIT": 3}.get(name, 15)
    quits = "shutting down" if name == "QUIT" else "exiting"
    site.say(f"signal {number} (SIG{name}) received, {quits}")
    for word in (("gracefully shutting down",) if name == "QUIT" else ()) + ("exiting", "exit"):
        site.say(word, process=f"{WORKER}#{WORKER}")
    site.say(f"signal 17 (SIGCHLD) received from {WORKER}")
    site.say(f"worker process {WORKER} exited with code 0")
    site.say("exit")
