"""nginx with its default site: the welcome page, files below the web root, access log."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from podwire.client import http1
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command

VERSION = "nginx/1.29.3"
ROOT = "/usr/share/nginx/html"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = {
    "html": "text/html", "txt": "text/plain", "css": "text/css", "json": "application/json",
    "js": "application/javascript", "png": "image/png", "svg": "image/svg+xml",
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


def _error(status: int) -> http1.Response:
    reason = "Not Allowed" if status == 405 else http1.REASONS[status]
    title = f"{status} {reason}"
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>{VERSION}</center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    fields = [
        ("Content-Type", "text/html"), ("Content-Length", str(len(body))),
        ("Connection", "keep-alive"),
    ]  # fmt: skip
    return http1.Response(status, body.encode(), fields, reason)


class _Site:
    def __init__(self, command: Command) -> None:
        self.command = command
        self.root, self.ports = _configuration(command)
        self.began = self.now()
        self.ships_page = self.root == ROOT and not command.env.list_files(ROOT)
        """Whether the image's own page is there: a volume over the web root hides it."""

    def now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.command.env.clock.now_ns() // 1000)

    async def answer(self, request: http1.Request) -> http1.Response:
        """A file of the root, the welcome page, or an error page; one access log line."""
        response = self._find(request)
        date = f"{self.now():%a, %d %b %Y %H:%M:%S} GMT"
        response.headers = [("Server", VERSION), ("Date", date), *response.headers]
        forwarded = request.header("x-forwarded-for", "-")
        self.command.out(
            f"{request.peer[0]} - - [{self.now():%d/%b/%Y:%H:%M:%S} +0000] "
            f'"{request.method} {request.target} {request.version}" {response.status} '
            f'{len(response.body)} "{request.header("referer", "-")}" '
            f'"{request.header("user-agent", "-")}" "{forwarded}"\n'
        )
        return response

    def plain(self) -> bytes:
        """What plain HTTP is told on a port of TLS."""
        why = "The plain HTTP request was sent to HTTPS port"
        body = (
            f"<html>\r\n<head><title>400 {why}</title></head>\r\n<body>\r\n"
            f"<center><h1>400 Bad Request</h1></center>\r\n<center>{why}</center>\r\n"
            f"<hr><center>{VERSION}</center>\r\n</body>\r\n</html>\r\n"
        )
        date = f"{self.now():%a, %d %b %Y %H:%M:%S} GMT"
        fields = [("Server", VERSION), ("Date", date), ("Content-Type", "text/html")]
        return http1.encode_response(http1.Response(400, body.encode(), fields), close=True)

    def _find(self, request: http1.Request) -> http1.Response:
        if request.method not in {"GET", "HEAD"}:
            return _error(405)
        path = request.path
        if ".." in path.split("/"):
            return _error(400)
        if path.endswith("/"):
            path += "index.html"
        kind = _TYPES.get(path.rpartition(".")[2], "application/octet-stream")
        try:
            body = self.command.env.read_file(self.root + path)
        except (FileNotFoundError, IsADirectoryError):
            if path != "/index.html" or not self.ships_page:
                missing = self.root + path
                self.command.err(f'[error] open() "{missing}" failed (2: No such file)\n')
                return _error(403 if path == "/index.html" else 404)
            body = WELCOME.encode()
        changed = int(self.began.timestamp())
        fields = [
            ("Content-Type", kind), ("Content-Length", str(len(body))),
            ("Last-Modified", f"{self.began:%a, %d %b %Y %H:%M:%S} GMT"),
            ("Connection", "keep-alive"), ("ETag", f'"{changed:x}-{len(body):x}"'),
            ("Accept-Ranges", "bytes"),
        ]  # fmt: skip
        return http1.Response(200, body, fields)


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
    words = command.args[1:] if command.args[:1] == ["nginx"] else command.args
    if words and not words[0].startswith("-"):
        return command.fail(f"exec: {words[0]}: not found", 127)
    if words[:1] == ["-v"]:
        command.err(f"nginx version: {VERSION}\n")
        return 0
    if words[:1] in (["-t"], ["-T"]):
        command.err("nginx: configuration file /etc/nginx/nginx.conf test is successful\n")
        return 0
    site = _Site(command)
    async with Server(command) as server:
        for port, tls in site.ports:
            try:
                await server.http(port, site.answer, tls=tls, plain=site.plain)
            except OSError as error:
                command.err(f"nginx: [emerg] bind() to 0.0.0.0:{port} failed: {in_use(error)}\n")
                return 1
        stamp = f"{site.now():%Y/%m/%d %H:%M:%S}"
        command.err(f"{stamp} [notice] 1#1: {VERSION}\n")
        command.err(f"{stamp} [notice] 1#1: start worker processes\n")
        name = await server.until_signal()
    number = {"TERM": 15, "INT": 2, "QUIT": 3}.get(name, 15)
    command.err(f"{site.now():%Y/%m/%d %H:%M:%S} [notice] 1#1: signal {number} received, exiting\n")
    return 0
