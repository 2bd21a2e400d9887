"""httpd (Apache) with its default site: "It works!", files below htdocs, access log.

Behaviour: apache/httpd server/core.c, modules/http/http_protocol.c (error pages),
modules/generators/mod_autoindex.c, docs/conf/httpd.conf.in; docker-library/httpd (logs).
core.c and mod_autoindex.c were not read for it: what is said of them is from memory.
"""

from __future__ import annotations

import errno
import html
import re
from urllib.parse import quote

from podwire.client import http1
from podwire.kubelet.programs import static
from podwire.kubelet.programs.serving import Server, in_use, now
from podwire.kubelet.shell.command import Command

VERSION = "2.4.66"
ROOT = "/usr/local/apache2/htdocs"
WORKS = b"<html><body><h1>It works!</h1></body></html>\n"
_HTML = ("Content-Type", "text/html; charset=iso-8859-1")
_ALLOW = "HEAD,GET,POST,OPTIONS,TRACE"
_TYPES = {
    "html": "text/html", "htm": "text/html", "txt": "text/plain", "css": "text/css",
    "xml": "application/xml", "json": "application/json", "js": "text/javascript",
    "png": "image/png", "svg": "image/svg+xml", "gif": "image/gif", "jpg": "image/jpeg",
    "jpeg": "image/jpeg", "ico": "image/x-icon", "webp": "image/webp", "pdf": "application/pdf",
    "zip": "application/zip", "wasm": "application/wasm", "mp4": "video/mp4", "mp3": "audio/mpeg",
}  # fmt: skip
"""Of conf/mime.types; a file of another kind is sent without a type."""
_WORDS = {
    301: '<p>The document has moved <a href="{}">here</a>.</p>',
    404: "<p>The requested URL was not found on this server.</p>",
    405: "<p>The requested method {} is not allowed for this URL.</p>",
}  # fmt: skip
"""What error pages say below their heading; that of other statuses is not modelled."""
_REASONS = {206: "Partial Content", 416: "Requested Range Not Satisfiable"}


async def run(command: Command) -> int:
    """``httpd-foreground``: port 80; its configuration is not read. TERM and WINCH end with 0."""
    if command.args[:1] == ["-v"]:
        command.out(f"Server version: {_version(command)}\n")
        return 0
    site = _Site(command)
    name = "AH00558: httpd: Could not reliably determine the server's fully qualified domain name"
    for _ in range(2):  # once for the check of the configuration, once for the start
        command.err(
            f"{name}, using {command.spec.pod_ip}. Set the 'ServerName' directive globally to "
            "suppress this message\n"
        )
    async with Server(command) as server:
        try:
            await server.http(80, site.answer)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = f"({error.errno}){in_use(error).capitalize()}: AH00072: make_sock: could not bind"
            for address in ("[::]:80", "0.0.0.0:80") if taken else ("0.0.0.0:80",):
                command.err(f"{why} to address {address}\n")
            command.err("no listening sockets available, shutting down\nAH00015: Unable to open ")
            command.err("logs\n")
            return 1
        site.say("mpm_event", f"AH00489: {site.version} configured -- resuming normal operations")
        site.say("core", "AH00094: Command line: 'httpd -D FOREGROUND'")
        signal = await server.until_signal("TERM", "INT", "WINCH")
        if signal == "WINCH":
            site.say("mpm_event", "AH00492: caught SIGWINCH, shutting down gracefully")
        else:
            site.say("mpm_event", "AH00491: caught SIGTERM, shutting down")
    return 0


def _version(command: Command) -> str:
    return f"Apache/{static.version(command.spec.image, VERSION)} (Unix)"


class _Site:
    def __init__(self, command: Command) -> None:
        self.command = command
        self.version = _version(command)
        self.began = now(command)
        self.ships_page = not command.env.list_files(ROOT)
        """Whether the image's own page is there: a volume over htdocs hides it."""

    def say(self, module: str, line: str) -> None:
        """A notice of the error log."""
        stamp = f"{now(self.command):%a %b %d %H:%M:%S.%f %Y}"
        self.command.err(f"[{stamp}] [{module}:notice] [pid 1:tid 1] {line}\n")

    async def answer(self, request: http1.Request) -> http1.Response:
        """A file, a listing or an error page; one line in the common log format."""
        response = self._find(request)
        date = static.stamp(now(self.command))
        response.headers = [("Date", date), ("Server", self.version), *response.headers]
        sent = 0 if request.method == "HEAD" else len(response.body)
        self.command.out(
            f"{request.peer[0]} - - [{now(self.command):%d/%b/%Y:%H:%M:%S} +0000] "
            f'"{request.method} {request.target} {request.version}" {response.status} '
            f"{sent or '-'}\n"
        )
        return response

    def _error(self, status: int, told: str = "", *more: tuple[str, str]) -> http1.Response:
        reason = _REASONS.get(status) or http1.REASONS[status]
        body = (
            '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n'
            f"<title>{status} {reason}</title>\n</head><body>\n<h1>{reason}</h1>\n"
            f"{_WORDS.get(status, '').format(html.escape(told))}\n</body></html>\n"
        ).encode()
        fields = [*more, ("Content-Length", str(len(body))), _HTML]
        return http1.Response(status, body, fields, reason)

    def _find(self, request: http1.Request) -> http1.Response:
        path, method = static.clean(request.path), request.method
        if not path:
            return self._error(400)
        if method == "OPTIONS":
            fields = [("Allow", _ALLOW), ("Content-Length", "0")]
            return http1.Response(200, b"", fields)
        if method == "TRACE":
            return self._trace(request)
        name = f"{path}index.html" if path.endswith("/") else path
        body = self._read(name)
        place = ROOT + path
        directory = path == "/" or static.is_directory(self.command.env.list_files(place), place)
        if method not in {"GET", "HEAD", "POST"}:
            return self._error(405, method, ("Allow", _ALLOW))
        if body is not None:
            return self._file(request, name, body)
        if not directory:
            return self._error(404)
        if not path.endswith("/"):
            query = request.target.partition("?")
            to = f"http://{request.header('host')}{quote(path)}/{query[1]}{query[2]}"
            return self._error(301, to, ("Location", to))
        return self._index(path)

    def _read(self, name: str) -> bytes | None:
        try:
            return self.command.env.read_file(ROOT + name)
        except (FileNotFoundError, IsADirectoryError):
            return WORKS if name == "/index.html" and self.ships_page else None

    def _trace(self, request: http1.Request) -> http1.Response:
        lines = [f"TRACE {request.target} {request.version}"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        body = "\r\n".join([*lines, "", ""]).encode()
        return http1.Response(200, body, [("Content-Type", "message/http")])

    def _index(self, path: str) -> http1.Response:
        """What a directory without index.html shows (Options Indexes, no FancyIndexing)."""
        base = ROOT + path
        rest = [name.removeprefix(base) for name in self.command.env.list_files(base)]
        names = dict.fromkeys(
            re.sub(r"/.*", "/", name) for name in rest if name and not name.startswith(".ht")
        )
        up = path.rstrip("/").rpartition("/")[0] + "/"
        rows = [f'<li><a href="{quote(up)}"> Parent Directory</a></li>\n'] if path != "/" else []
        rows += [
            f'<li><a href="{quote(name)}"> {html.escape(name)}</a></li>\n' for name in sorted(names)
        ]
        title = f"Index of {html.escape(path.rstrip('/') or '/')}"
        body = (
            '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n<html>\n <head>\n'
            f"  <title>{title}</title>\n </head>\n <body>\n<h1>{title}</h1>\n"
            f"<ul>{''.join(rows)}</ul>\n</body></html>\n"
        ).encode()
        kind = ("Content-Type", "text/html;charset=ISO-8859-1")
        return http1.Response(200, body, [("Content-Length", str(len(body))), kind])

    def _file(self, request: http1.Request, name: str, body: bytes) -> http1.Response:
        changed, size = static.stamp(self.began), len(body)
        etag = f'"{size:x}-{int(self.began.timestamp()) * 1_000_000:x}"'
        marks = [("Last-Modified", changed), ("ETag", etag), ("Accept-Ranges", "bytes")]
        if static.fresh(request, etag, changed):
            return http1.Response(304, b"", marks)
        status, more = 200, []
        if asked := static.part(request, size):
            first, last = asked
            if first > last:
                return self._error(416, "", ("Content-Range", f"bytes */{size}"))
            status, body = 206, body[first : last + 1]
            more = [("Content-Range", f"bytes {first}-{last}/{size}")]
        kind = _TYPES.get(name.rpartition(".")[2])
        kinds = [("Content-Type", kind)] if kind else []
        length = ("Content-Length", str(len(body)))
        reason = _REASONS.get(status, "")
        return http1.Response(status, body, [*marks, length, *more, *kinds], reason)
