"""httpd: busybox's small web server."""

from __future__ import annotations

from podwire.client.http1 import Request, Response
from podwire.kubelet.programs.serving import Server
from podwire.kubelet.shell.command import Command, UsageError

_TYPES = {"html": "text/html", "txt": "text/plain", "json": "application/json"}


async def run(command: Command) -> int:
    """``httpd -f [-v] [-p PORT] [-h HOME]``; going into the background is not modelled."""
    port, home, verbose, foreground = "80", command.cwd, False, False
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg[:2] in {"-p", "-h"}:
            value = arg[2:] or (args.pop(0) if args else "")
            port, home = (value, home) if arg[1] == "p" else (port, value)
        else:
            verbose, foreground = verbose or "v" in arg, foreground or "f" in arg
    port = port.rpartition(":")[2]
    if not foreground:
        raise UsageError("without -f: not modelled")
    if not port.isdigit():
        raise UsageError(f"invalid port '{port}'")

    async def answer(request: Request) -> Response:
        path = command.path(home.rstrip("/") + "/" + request.path.lstrip("/"))
        path += "/index.html" if request.path.endswith("/") else ""
        status, body = 200, b""
        try:
            body = command.env.read_file(path.replace("//", "/"))
        except (FileNotFoundError, IsADirectoryError):
            status = 404
            body = b"<HTML><HEAD><TITLE>404 Not Found</TITLE></HEAD>\n<BODY><H1>404 Not Found"
            body += b"</H1>\nThe requested URL was not found\n</BODY></HTML>\n"
        if verbose:
            peer = f"[::ffff:{request.peer[0]}]:{request.peer[1]}"
            command.err(f"{peer}: response:{status}\n")
        kind = _TYPES.get(path.rpartition(".")[2], "application/octet-stream")
        return Response(status, body, [("Content-Type", kind if status == 200 else "text/html")])

    async with Server(command) as server:
        try:
            await server.http(int(port), answer)
        except OSError as error:
            raise UsageError(f"bind: {error.strerror}") from None
        await server.until_signal()
    return 143
