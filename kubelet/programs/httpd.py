"""httpd (Apache) with its default site: "It works!", files below htdocs, access log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from podwire.client import http1
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command

VERSION = "Apache/2.4.66 (Unix)"
ROOT = "/usr/local/apache2/htdocs"
WORKS = b"<html><body><h1>It works!</h1></body></html>\n"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_FOUND = """<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">
<html><head>
<title>404 Not Found</title>
</head><body>
<h1>Not Found</h1>
<p>The requested URL was not found on this server.</p>
</body></html>
"""


async def run(command: Command) -> int:
    """``httpd-foreground``: port 80. Its configuration is not read."""
    files = command.env
    ships_page = not files.list_files(ROOT)

    def find(path: str) -> http1.Response:
        name = path + "index.html" if path.endswith("/") else path
        try:
            body = files.read_file(f"{ROOT}{name}")
        except (FileNotFoundError, IsADirectoryError):
            if not (ships_page and name == "/index.html"):
                return http1.text(_NOT_FOUND, 404, kind="text/html; charset=iso-8859-1")
            body = WORKS
        return http1.Response(
            200, body, [("Accept-Ranges", "bytes"), ("Content-Type", "text/html")]
        )

    async def answer(request: http1.Request) -> http1.Response:
        now = _EPOCH + timedelta(microseconds=files.clock.now_ns() // 1000)
        safe = ".." not in request.path.split("/")
        response = find(request.path) if safe else http1.text("Bad Request\n", 400)
        date = f"{now:%a, %d %b %Y %H:%M:%S} GMT"
        response.headers = [("Date", date), ("Server", VERSION), *response.headers]
        command.out(
            f"{request.peer[0]} - - [{now:%d/%b/%Y:%H:%M:%S} +0000] "
            f'"{request.method} {request.target} {request.version}" {response.status} '
            f"{len(response.body)}\n"
        )
        return response

    async with Server(command) as server:
        try:
            await server.http(80, answer)
        except OSError as error:
            words = f"make_sock: could not bind to address 0.0.0.0:80: {in_use(error)}"
            command.err(f"(98)Address already in use: AH00072: {words}\n")
            return 1
        command.err(f"AH00094: Command line: 'httpd -D FOREGROUND' ({VERSION})\n")
        await server.until_signal("TERM", "WINCH")
        command.err("AH00491: caught SIGTERM, shutting down\n")
    return 0
