"""Web servers of images, held against their sources: answers, headers, log lines, exit codes."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from podwire.client import http1
from podwire.kubelet.programs.agnhost import COMMANDS
from tests.unit.programs.test_programs import World, story

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


async def ask(
    world: World, port: int, line: str, headers: http1.Headers | None = None, body: bytes = b""
) -> http1.Response:
    """``METHOD TARGET`` on a fresh connection."""
    method, target = line.split()
    stream = await world.net.connect("node-1", "client", "10.244.1.5", port, 1)
    async with asyncio.timeout(100):
        return await http1.fetch(stream, method, target, "web", headers or [], body)


Row = tuple[str, int, str, str]
"""``METHOD TARGET``, status, a pattern that the body fits whole, one header as it is sent."""


async def hold(world: World, port: int, rows: list[Row]) -> None:
    """Ask every row and compare."""
    for line, status, pattern, wanted in rows:
        told = await ask(world, port, line)
        assert told.status == status, line
        assert re.fullmatch(pattern, told.body.decode(), re.DOTALL), (line, told.body)
        assert wanted in ["", *(": ".join(field) for field in told.headers)], (line, told.headers)


@pytest.mark.parametrize(
    ("image", "argv", "code", "said"),
    [
        ("hashicorp/http-echo", ("-text=",), 0, ""),
        ("hashicorp/http-echo", ("-text=a", "b"), 127, "Too many arguments!"),
        ("hashicorp/http-echo", ("-txt=a",), 2, "flag provided but not defined: -txt"),
        ("traefik/whoami", ("--prot", "8080"), 2, "flag provided but not defined: -prot"),
    ],
)
def test_go_programs_end_on_flags_that_they_do_not_know(
    image: str, argv: tuple[str, ...], code: int, said: str
) -> None:
    """Code 0 in the table: it goes on, with the text that the image brings."""

    async def body(world: World) -> None:
        process, container = await world.start(image, *argv)
        if code:
            assert await container.wait() == code
            assert process.errors[0] == said
        else:
            assert (await world.get("/", 5678)).body == b"hello-world\n"

    story(body)


def test_http_echo_as_its_source_has_it() -> None:
    """Headers in the order of net/http, HTML recognized, /health not logged, 2 after TERM."""

    async def body(world: World) -> None:
        argv = ("-text=<h1>a</h1>", "-status-code", "503")
        process, container = await world.start("hashicorp/http-echo", *argv)
        told = await world.get("/x?y=1", 5678)
        assert told.status == 503
        assert told.headers == [
            ("X-App-Name", "http-echo"), ("X-App-Version", "1.0.0"), ("Date", DATE),
            ("Content-Length", "11"), ("Content-Type", "text/html; charset=utf-8"),
        ]  # fmt: skip
        await hold(world, 5678, [("GET /health", 200, '{"status":"ok"}\n', "")])
        assert len(process.lines) == 1
        logged = r'2026/01/01 00:00:00 web 10.244.1.9:\d+ "GET /x HTTP/1.1" 503 11 "" 0s'
        assert re.fullmatch(logged, process.lines[0])
        assert process.errors == ["2026/01/01 00:00:00 [INFO] server is listening on :5678"]
        container.signal("TERM")
        assert await container.wait() == 2

    story(body)


def test_whoami_as_its_source_has_it() -> None:
    """All endpoints, the request with CRLF, state of /health, 2 after TERM."""

    async def body(world: World) -> None:
        env = {"WHOAMI_NAME": "me", "A": "b"}
        process, container = await world.start("traefik/whoami", "-verbose", env=env)
        began_ns = world.env.clock.monotonic_ns()
        told = await ask(world, 80, "POST /x?env=1&wait=2s", [("x-b", "1")], b"hi")
        assert world.env.clock.monotonic_ns() - began_ns >= 2 * 10**9
        assert re.fullmatch(
            "Name: me\nHostname: web-1\nIP: 127.0.0.1\nIP: ::1\nIP: 10.244.1.5\n"
            "RemoteAddr: 10.244.1.9:\\d+\nPOST /x\\?env=1&wait=2s HTTP/1.1\r\nHost: web\r\n"
            "User-Agent: Go-http-client/1.1\r\nContent-Length: 2\r\nX-B: 1\r\n\r\nhi.*A=b\n",
            told.body.decode(),
            re.DOTALL,
        )
        rows: list[Row] = [
            ("GET /bench", 200, "1", "Connection: keep-alive"),
            (
                "GET /data?size=5&attachment=true",
                200,
                r"\|ABC\|",
                "Content-Disposition: Attachment",
            ),
            ("GET /api", 200, '{"hostname":"web-1","ip":.*}\n', "Content-Type: application/json"),
            ("GET /health", 200, "", "Content-Length: 0"),
        ]
        await hold(world, 80, rows)
        await ask(world, 80, "POST /health", body=b"503")
        await hold(world, 80, [("GET /health", 503, "", "")])
        assert process.lines == ["Update health check status code [503]"]
        assert process.errors[0] == "2026/01/01 00:00:00 Starting up on port 80"
        assert process.errors[1].endswith('"POST /x HTTP/1.1" - -')
        container.signal("TERM")
        assert await container.wait() == 2

    story(body)


def test_echo_basic_as_its_source_has_it() -> None:
    """Statuses of three digits, headers that one asks for, delays that are none."""

    async def body(world: World) -> None:
        _, container = await world.start("gcr.io/k8s-staging-gateway-api/echo-basic:v1")
        invalid = r'{"message":"time: invalid duration \\"x\\""}'
        rows: list[Row] = [
            ("GET /health", 200, "OK", "Content-Type: text/plain; charset=utf-8"),
            ("GET /status/999", 999, "", ""),
            ("GET /status/20", 400, "", ""),
            ("GET /?delay=x", 500, invalid, "Content-Type: application/json"),
        ]
        await hold(world, 3000, rows)
        told = await ask(world, 3000, "GET /", [("X-Echo-Set-Header", "b:1, A:2,b: 3")])
        assert told.headers[:2] == [("A", "2"), ("Content-Type", "application/json")]
        assert ("b", "1,3") in told.headers
        assert json.loads(told.body)["headers"] == {"X-Echo-Set-Header": ["b:1, A:2,b: 3"]}
        container.signal("TERM")
        assert await container.wait() == 2

    story(body)


def test_nginx_as_its_source_has_it() -> None:
    """Paths, methods, validators, ranges; the version is the tag's; both logs; QUIT."""

    async def body(world: World) -> None:
        root = "/usr/share/nginx/html"
        files = {f"{root}/a/b.js": b"0123456789", f"{root}/c/index.htm": b"c"}
        conf = {"/etc/nginx/conf.d/default.conf": b"server { listen 8080; }"}
        process, container = await world.start("nginx:1.25.3-alpine", files=files | conf)
        page = r"<html>\r\n<head><title>%s</title></head>.*<center>nginx/1.25.3</center>.*"
        rows: list[Row] = [
            ("GET /a/b.js", 200, "0123456789", "Content-Type: application/javascript"),
            ("GET //a/./x/../b.js", 200, "0123456789", "Accept-Ranges: bytes"),
            ("HEAD /a/b.js", 200, "", "Content-Length: 10"),
            ("POST /a/b.js", 405, page % "405 Not Allowed", "Connection: keep-alive"),
            ("PUT /no", 405, page % "405 Not Allowed", ""),
            ("POST /no", 404, page % "404 Not Found", "Content-Type: text/html"),
            ("GET /a", 301, page % "301 Moved Permanently", "Location: http://web:8080/a/"),
            ("GET /a/", 403, page % "403 Forbidden", ""),
            ("GET /c/", 200, "c", "Server: nginx/1.25.3"),
            ("GET /no/", 404, page % "404 Not Found", ""),
            ("GET /../a", 400, page % "400 Bad Request", ""),
        ]
        await hold(world, 8080, rows)
        told = await ask(world, 8080, "GET /a/b.js")
        assert [name for name, _ in told.headers] == [
            "Server", "Date", "Content-Type", "Content-Length", "Last-Modified", "Connection",
            "ETag", "Accept-Ranges",
        ]  # fmt: skip
        etag, date = told.header("etag"), told.header("last-modified")
        for fields, status, sent in (
            ([("If-None-Match", f'"x", {etag}')], 304, b""),
            ([("If-Modified-Since", date)], 304, b""),
            ([("If-None-Match", '"x"')], 200, b"0123456789"),
            ([("Range", "bytes=2-3")], 206, b"23"),
            ([("Range", "bytes=-2")], 206, b"89"),
            ([("Range", "bytes=10-")], 416, None),
            ([("Connection", "close")], 200, b"0123456789"),
        ):
            told = await ask(world, 8080, "GET /a/b.js", fields)
            assert (told.status, told.body) == (status, told.body if sent is None else sent)
            assert sum(name == "Connection" for name, _ in told.headers) == 1
        logged = process.lines[9:]
        assert logged[2].endswith('"HEAD /a/b.js HTTP/1.1" 200 0 "-" "-" "-"')
        assert any(
            re.fullmatch(
                rf'.* \[error\] 29#29: \*8 directory index of "{root}/a/" is forbidden, '
                r'client: 10.244.1.9, server: localhost, request: "GET /a/ HTTP/1.1", host: "web"',
                line,
            )
            for line in process.errors
        )
        container.signal("QUIT")
        assert await container.wait() == 0
        stop = "2026/01/01 00:00:00 [notice] 1#1: signal 3 (SIGQUIT) received, shutting down"
        assert stop in process.errors
        assert process.errors[-1].endswith("1#1: exit")

    story(body)


def test_podinfo_as_its_source_has_it() -> None:
    """Methods of gorilla/mux, PODINFO_*, the log of zap, three unready seconds after TERM."""

    async def body(world: World) -> None:
        image, env = "ghcr.io/stefanprodan/podinfo:6.9.2", {"PODINFO_UI_COLOR": "red"}
        argv = ("./podinfo", "--port=8080", "--port-metrics", "9797", "--unready")
        process, container = await world.start(image, *argv, env=env)
        rows: list[Row] = [
            ("GET /version", 200, r'{\n  "commit": .*}', "X-Content-Type-Options: nosniff"),
            ("HEAD /version", 405, "", "Content-Length: 0"),
            ("GET /no", 404, "404 page not found\n", "Content-Type: text/plain; charset=utf-8"),
            ("GET /readyz", 503, "", ""),
            ("GET /readyz/enable", 405, "", ""),
            ("POST /readyz/enable", 202, "", ""),
            ("GET /readyz", 200, r'{\n  "status": "OK"\n}', ""),
            ("GET /api/info", 200, '.*"color": "red".*', ""),
            ("PUT /status/418", 418, r'{\n  "status": 418\n}', ""),
            ("GET /configs", 200, "{}", ""),
            ("GET /echo/a", 202, "", "X-Color: red"),
            ("POST /token", 501, "not modelled: /token\n", ""),
        ]
        await hold(world, 8080, rows)
        await hold(world, 9797, [("GET /healthz", 200, "OK", "")])
        told = await ask(world, 8080, "GET /headers", [("x-a", "<")])
        assert json.loads(told.body) == {
            "X-A": ["<"], "X-Api-Revision": ["unknown"], "X-Api-Version": ["6.9.2"],
        }  # fmt: skip
        assert b"\\u003c" in told.body
        assert json.loads(process.errors[1]) == {
            "level": "info", "ts": "2026-01-01T00:00:00.000Z", "caller": "http/server.go:224",
            "msg": "Starting HTTP Server.", "addr": ":8080",
        }  # fmt: skip
        container.signal("TERM")
        await asyncio.sleep(2)
        await hold(world, 8080, [("GET /healthz", 503, "", ""), ("GET /readyz", 503, "", "")])
        assert await container.wait() == 0
        flags = ("--port=0", "--secure-port=9899", "--stress-cpu=2")
        process, container = await world.start(image, "./podinfo", *flags, ip="10.244.1.5")
        assert await container.wait() == 1
        lines = [json.loads(line) for line in process.errors]
        assert lines[1]["flags"] == ["--stress-cpu"]
        assert lines[-1]["error"] == "open /data/cert/tls.crt: no such file or directory"
        process, container = await world.start(image, "./podinfo", "--prot=1", ip="10.244.1.6")
        assert await container.wait() == 2
        assert process.errors[0] == "Error: unknown flag: --prot"

    story(body)


def test_httpd_as_its_source_has_it() -> None:
    """Listings, methods, error pages, validators, the common log format, both ways to end."""

    async def body(world: World) -> None:
        root = "/usr/local/apache2/htdocs"
        files = {f"{root}/a/b.txt": b"0123456789", f"{root}/a/c": b"", f"{root}/d/e/f": b""}
        process, container = await world.start("httpd:2.4.62-alpine", files=files)
        page = r'<!DOCTYPE HTML PUBLIC "-//IETF.*<title>%s</title>.*'
        rows: list[Row] = [
            ("GET /a/b.txt", 200, "0123456789", "Server: Apache/2.4.62 (Unix)"),
            ("POST /a/b.txt", 200, "0123456789", "Content-Type: text/plain"),
            ("HEAD /a/b.txt", 200, "", "Content-Length: 10"),
            ("GET /a", 301, page % "301 Moved Permanently", "Location: http://web/a/"),
            ("GET /a/", 200, '.*<a href="/"> Parent Directory<.*<a href="b.txt"> b.txt<.*', ""),
            ("GET /", 200, '.*<title>Index of /</title>.*<a href="a/"> a/</a>.*', ""),
            ("GET /no", 404, page % "404 Not Found", "Content-Type: text/html; charset=iso-8859-1"),
            ("PUT /a/b.txt", 405, page % "405 Method Not Allowed",
             "Allow: HEAD,GET,POST,OPTIONS,TRACE"),
            ("OPTIONS /", 200, "", "Allow: HEAD,GET,POST,OPTIONS,TRACE"),
            ("TRACE /x", 200, "TRACE /x HTTP/1.1\r\nHost: web\r\n\r\n",
             "Content-Type: message/http"),
            ("GET /a/../../b", 400, page % "400 Bad Request", ""),
        ]  # fmt: skip
        await hold(world, 80, rows)
        told = await ask(world, 80, "GET /a/b.txt", [("Range", "bytes=2-3")])
        assert (told.status, told.reason, told.body) == (206, "Partial Content", b"23")
        fields = [("If-None-Match", told.header("etag"))]
        assert (await ask(world, 80, "GET /a/b.txt", fields)).status == 304
        assert process.lines[2].endswith('"HEAD /a/b.txt HTTP/1.1" 200 -')
        assert process.errors[2] == (
            "[Thu Jan 01 00:00:00.000000 2026] [mpm_event:notice] [pid 1:tid 1] "
            "AH00489: Apache/2.4.62 (Unix) configured -- resuming normal operations"
        )
        container.signal("WINCH")
        assert await container.wait() == 0
        assert process.errors[-1].endswith("AH00492: caught SIGWINCH, shutting down gracefully")

    story(body)


def test_httpbin_as_its_source_has_it() -> None:
    """Methods, what bodies become, statuses with their headers, gunicorn's log and end."""

    async def body(world: World) -> None:
        process, container = await world.start("kennethreitz/httpbin")
        basic = 'WWW-Authenticate: Basic realm="Fake Realm"'
        rows: list[Row] = [
            ("GET /ip", 200, '{\n  "origin": "10.244.1.9"\n}\n', "Server: gunicorn/19.9.0"),
            ("HEAD /get", 200, "", "Connection: keep-alive"),
            ("POST /get", 405, ".*<title>405 Method Not Allowed.*", "Allow: GET, HEAD, OPTIONS"),
            ("OPTIONS /post", 200, "", "Access-Control-Max-Age: 3600"),
            ("GET /no", 404, ".*<title>404 Not Found.*", "Content-Type: text/html"),
            ("GET /stream/3", 501, "not modelled: /stream/3\n", ""),
            ("GET /status/401", 401, "", basic),
            ("GET /status/x", 400, "Invalid status code", "Access-Control-Allow-Origin: *"),
            ("PUT /status/503:1,503:2", 503, "", ""),
            ("GET /absolute-redirect/2", 302, "", "Location: http://web/absolute-redirect/1"),
            ("GET /redirect-to?url=/a&status_code=307", 307, "", "Location: /a"),
            ("GET /basic-auth/u/p", 401, "", basic),
        ]
        await hold(world, 80, rows)
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        for headers, sent, wanted in (
            (form, b"a=1&a=2&b=3", {"data": "", "form": {"a": ["1", "2"], "b": "3"}, "json": None}),
            ([], b'{"a": 1}', {"data": '{"a": 1}', "form": {}, "json": {"a": 1}}),
        ):
            told = json.loads((await ask(world, 80, "POST /post", headers, sent)).body)
            assert wanted.items() <= told.items()
        told = await ask(world, 80, "GET /basic-auth/u/p", [("Authorization", "Basic dTpw")])
        assert json.loads(told.body) == {"authenticated": True, "user": "u"}
        assert process.lines == []
        assert process.errors[1:2] == [
            "[2026-01-01 00:00:00 +0000] [1] [INFO] Listening at: http://0.0.0.0:80 (1)"
        ]
        container.signal("TERM")
        assert await container.wait() == 0
        await world.start("mccutchen/go-httpbin", ip="10.244.1.5")
        told = await ask(world, 8080, "GET /get?a=1")
        assert json.loads(told.body)["args"] == {"a": ["1"]}

    story(body)


def test_the_docs_list_every_subcommand_of_agnhost() -> None:
    """A subcommand that nobody finds is not there."""
    told = Path("docs/programs.md").read_text().partition("has the subcommands ")[2]
    listed = re.split(r",\s|\sand\s", told.partition(";")[0])
    assert [name.strip() for name in listed] == sorted(COMMANDS)
