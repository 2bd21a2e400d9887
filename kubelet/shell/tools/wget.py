"""wget, in busybox's words."""

from __future__ import annotations

import asyncio

from podwire.client import http1
from podwire.client.http1 import HttpError
from podwire.kubelet.programs import web
from podwire.kubelet.shell.command import Command, UsageError

MAX_REDIRECTS = 5


async def run(command: Command) -> int:
    """``wget [-q] [-S] [-O FILE] [-T SECONDS] [--spider] [--header H] [--post-data D] URL``."""
    options: dict[str, str] = {}
    headers: http1.Headers = []
    urls: list[str] = []
    args = list(command.args)
    valued = ("-O", "-T", "-t", "-U", "--timeout", "--tries", "--header", "--post-data")
    while args:
        arg = args.pop(0)
        name, equals, value = arg.partition("=") if arg.startswith("--") else (arg, "", "")
        if not arg.startswith("--") and arg[:1] == "-" and len(arg) > 2:
            if arg[:2] in valued:
                name, equals, value = arg[:2], "=", arg[2:]
            else:
                args.insert(0, f"-{arg[2:]}")
                name = arg[:2]
        if name in valued:
            value = value if equals else (args.pop(0) if args else "")
            if name == "--header":
                key, _, text = value.partition(":")
                headers.append((key.strip(), text.strip()))
            options[name] = value
        elif name.startswith("-") and name != "-":
            options[name] = ""
        else:
            urls.append(arg)
    if not urls:
        return command.fail("missing URL")
    text = options.get("-T") or options.get("--timeout") or "900"
    if not text.isdigit():
        raise UsageError(f"invalid number '{text}'")
    try:
        async with asyncio.timeout(int(text)):
            return await _get(command, urls[0], options, headers)
    except TimeoutError:
        return command.fail("download timed out")
    except HttpError:
        return command.fail("error getting response")


async def _get(command: Command, text: str, options: dict[str, str], headers: http1.Headers) -> int:
    for _ in range(MAX_REDIRECTS):
        try:
            url = web.parse_url(text)
        except ValueError:
            return command.fail(f"not an http or ftp url: {text}")
        ips = await web.addresses(command.env, command.image.libc, url.host)
        if not ips:
            return command.fail(f"bad address '{url.host}'")
        if "-q" not in options:
            command.err(f"Connecting to {url.authority} ({ips[0]}:{url.port})\n")
        try:
            stream = await web.connect(command.env, ips, url.port, web.CONNECT_TIMEOUT_S)
        except TimeoutError:
            raise
        except OSError as error:
            return command.fail(f"can't connect to remote host ({ips[0]}): {error.strerror}")
        fields = [("Host", url.authority), ("User-Agent", "Wget"), ("Connection", "close")]
        post = options.get("--post-data")
        response = await http1.fetch(
            stream, "GET" if post is None else "POST", url.target, url.authority,
            [*fields, *headers], (post or "").encode(),
            tls_name=url.host if url.scheme == "https" else "",
        )  # fmt: skip
        await stream.close()
        if "-S" in options:
            command.err(f"  HTTP/1.1 {response.status} {response.reason}\n")
        if response.status in {301, 302, 303, 307, 308} and response.header("location"):
            text = _join(url, response.header("location"))
            continue
        return await _save(command, url, response, options)
    return command.fail("too many redirections")


def _join(url: web.Url, location: str) -> str:
    return location if "://" in location else f"{url.scheme}://{url.authority}{location}"


async def _save(
    command: Command, url: web.Url, response: http1.Response, options: dict[str, str]
) -> int:
    if not 200 <= response.status < 300:
        return command.fail(f"server returned error: HTTP/1.1 {response.status} {response.reason}")
    quiet = "-q" in options
    if "--spider" in options:
        if not quiet:
            command.err("remote file exists\n")
        return 0
    name = options.get("-O") or url.target.partition("?")[0].rpartition("/")[2] or "index.html"
    shown = "stdout" if name == "-" else f"'{name}'"
    if not quiet:
        command.err(f"{'writing to' if name == '-' else 'saving to'} {shown}\n")
    if name == "-":
        command.write_out(response.body)
    elif name != "/dev/null":
        await command.env.write_file(command.path(name), response.body)
    if not quiet:
        bar = f"{name:20.20} 100% |{'*' * 32}| {len(response.body):5}  0:00:00 ETA\n"
        command.err(f"{bar}{'written to stdout' if name == '-' else f'{shown} saved'}\n")
    return 0
