"""curl, in the words of 8.14."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field

from podwire.client import http1
from podwire.client.counters import Stream
from podwire.client.http1 import HttpError, Response
from podwire.kubelet.programs import web
from podwire.kubelet.programs.web import Url
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.curl_options import Options, parse
from podwire.kubelet.shell.tools.echo import unescape

VERSION = "8.14.1"
MAX_REDIRECTS = 50
RETRY_MAX_S = 600.0
RETRIED_STATUSES = (408, 429, 500, 502, 503, 504)
RESOLVE, CONNECT, PARTIAL, HTTP_ERROR, WRITE, TIMEOUT, TLS, REDIRECTS = 6, 7, 18, 22, 23, 28, 35, 47
EMPTY, RECEIVE, CERTIFICATE = 52, 56, 60


class CurlError(Exception):
    """A transfer failed: ``code`` is curl's exit code, the text its message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Transfer:
    """What -w can tell about one URL."""

    url: Url
    began_ns: int
    response: Response | None = None
    looked_up_ns: int = 0
    connected_ns: int = 0
    ended_ns: int = 0
    remote: tuple[str, int] = ("", 0)
    local: tuple[str, int] = ("", 0)
    redirects: int = 0
    code: int = 0
    verbose: list[str] = field(default_factory=list)


async def run(command: Command) -> int:
    """``curl [OPTIONS] URL...``: the exit code of the last transfer that failed."""
    if command.args[:1] in (["--version"], ["-V"]):
        command.out(f"curl {VERSION} (podwire) modelled\nProtocols: http https\n")
        return 0
    options = parse(command)
    if not options.urls:
        command.err("curl: (2) no URL specified\n")
        return 2
    status = 0
    for text in options.urls:
        status = await _Curl(command, options).fetch(text) or status
    return status


class _Curl:
    def __init__(self, command: Command, options: Options) -> None:
        self.command = command
        self.options = options
        self.clock = command.env.clock

    async def fetch(self, text: str) -> int:
        """One URL, tried again after passing troubles as ``--retry`` asks."""
        options = self.options
        left, pause_s = options.retries, options.retry_delay_s or 1.0
        while True:
            transfer = await self._attempt(text)
            if isinstance(transfer, int):
                return transfer
            trouble = self._passing(transfer)
            if not left or not trouble:
                return transfer.code
            if not options.silent or options.show_error:
                seconds = f"{pause_s:g} second{'' if pause_s == 1 else 's'}"
                self.command.err(
                    f"Warning: Problem: {trouble}. Will retry in {seconds}. {left} "
                    f"retr{'y' if left == 1 else 'ies'} left.\n"
                )
            await self.clock.sleep(pause_s)
            left -= 1
            if not options.retry_delay_s:
                pause_s = min(2 * pause_s, RETRY_MAX_S)

    def _passing(self, transfer: Transfer) -> str:
        """The trouble that another try may not meet, '' when there is none."""
        options = self.options
        if transfer.code in {TIMEOUT, RESOLVE}:
            return "timeout"
        if transfer.code == CONNECT and (options.retry_refused or options.retry_all):
            return "connection refused"
        if transfer.code and options.retry_all:
            return "(retrying all errors)"
        response = transfer.response
        if response is not None and response.status in RETRIED_STATUSES:
            return "HTTP error"
        return ""

    async def _attempt(self, text: str) -> Transfer | int:
        """One URL with its redirects, once; the exit code when it is no URL."""
        command, options = self.command, self.options
        began = self.clock.monotonic_ns()
        try:
            url = web.parse_url(text)
        except ValueError as error:
            unsupported = "not supported" in str(error)
            return self._complain(CurlError(1 if unsupported else 3, str(error)))
        transfer = Transfer(url, began)
        try:
            async with asyncio.timeout(options.max_time_s or None):
                await self._follow(transfer)
        except TimeoutError:
            ms = (self.clock.monotonic_ns() - began) // 1_000_000
            why = f"Operation timed out after {ms} milliseconds with 0 bytes received"
            if not transfer.looked_up_ns:
                why = f"Resolving timed out after {ms} milliseconds"
            elif not transfer.connected_ns:
                why = f"Connection timed out after {ms} milliseconds"
            transfer.code = self._complain(CurlError(TIMEOUT, why))
        except CurlError as error:
            transfer.code = self._complain(error)
        transfer.ended_ns = self.clock.monotonic_ns()
        if options.write_out:
            command.out(_write_out(options.write_out, transfer))
        return transfer

    def _complain(self, error: CurlError) -> int:
        options = self.options
        if options.verbose and error.code != HTTP_ERROR:
            self.command.err(f"* {error}\n* closing connection #0\n")
        if not options.silent or options.show_error:
            self.command.err(f"curl: ({error.code}) {error}\n")
        return error.code

    def _say(self, text: str) -> None:
        if self.options.verbose:
            self.command.err(f"{text}\n")

    async def _follow(self, transfer: Transfer) -> None:
        options, method = self.options, self.options.method
        body = options.body
        while True:
            response = await self._once(transfer, method, body)
            transfer.response = response
            location = response.header("location")
            if not (options.follow and location and response.status in {301, 302, 303, 307, 308}):
                break
            transfer.redirects += 1
            if transfer.redirects > MAX_REDIRECTS:
                raise CurlError(REDIRECTS, f"Maximum ({MAX_REDIRECTS}) redirects followed")
            if response.status == 303 or (response.status < 303 and method == "POST"):
                method, body = "GET", b""
            target = _join(transfer.url, location)
            self._say(f"* Issue another request to this URL: '{target}'")
            try:
                transfer.url = web.parse_url(target)
            except ValueError as error:
                raise CurlError(3, str(error)) from None
        await self._deliver(transfer, response)

    # ------------------------------------------------------------------ one request

    async def _once(self, transfer: Transfer, method: str, body: bytes) -> Response:
        url, options = transfer.url, self.options
        stream = await self._connect(transfer)
        if url.scheme == "https":
            self._check_certificate(url)
        fields = self._fields(url, body)
        data = http1.encode_request(
            method, url.target, url.authority, fields, body,
            tls_name=url.host if url.scheme == "https" else "",
        )  # fmt: skip
        if options.verbose:
            head = data[data.find(method.encode()) :].partition(b"\r\n\r\n")[0].decode("latin-1")
            self.command.err("".join(f"> {line}\n" for line in [*head.split("\r\n"), ""]))
            if body and not self.command.env.tty:
                self._say(f"}} [{len(body)} bytes data]")
                self._say(f"* upload completely sent off: {len(body)} bytes")
            else:
                self._say("* Request completely sent off")
        try:
            await stream.send(data)
            reader = http1.Reader(stream)
            if url.scheme == "https":
                await http1.read_tls(reader)
            response = await http1.read_response(reader, method)
        except HttpError as error:
            if error.status == 0:
                raise CurlError(EMPTY, "Empty reply from server") from None
            if error.status == 2:
                raise CurlError(TLS, "TLS connect error: wrong version number") from None
            if error.status == 1:
                raise CurlError(1, "Received HTTP/0.9 when not allowed") from None
            raise CurlError(PARTIAL, "transfer closed with outstanding read data") from None
        except ConnectionResetError:
            if url.scheme == "https":
                raise CurlError(TLS, "TLS connect error: unexpected eof while reading") from None
            raise CurlError(RECEIVE, "Recv failure: Connection reset by peer") from None
        except BrokenPipeError:
            raise CurlError(55, "Send failure: Broken pipe") from None
        await stream.close()
        if options.verbose:
            status = f"{response.version} {response.status} {response.reason}"
            lines = [status, *(f"{name}: {value}" for name, value in response.headers), ""]
            self.command.err("".join(f"< {line}\n" for line in lines))
            if response.body and not self.command.env.tty:
                self._say(f"{{ [{len(response.body)} bytes data]")
            self._say(f"* Connection #0 to host {url.host} left intact")
        return response

    def _check_certificate(self, url: Url) -> None:
        options = self.options
        if options.ca_file:
            try:
                self.command.read_file(options.ca_file)
            except UsageError:
                where = f"CAfile: {options.ca_file} CApath: none"
                raise CurlError(77, f"error adding trust anchors from file: {where}") from None
            return
        if not options.insecure:
            self._say(f"* SSL certificate problem: unable to get issuer of {url.host}")
            raise CurlError(
                CERTIFICATE,
                "SSL certificate problem: unable to get local issuer certificate\n"
                "More details here: https://curl.se/docs/sslcerts.html",
            )

    def _fields(self, url: Url, body: bytes) -> http1.Headers:
        options = self.options
        fields: http1.Headers = [
            ("Host", url.authority), ("User-Agent", options.user_agent or f"curl/{VERSION}"),
            ("Accept", "*/*"),
        ]  # fmt: skip
        user = options.user or url.user
        if user:
            token = base64.b64encode(user.encode()).decode()
            fields.insert(1, ("Authorization", f"Basic {token}"))
        if body:
            fields.append(("Content-Length", str(len(body))))
            fields.append(("Content-Type", "application/x-www-form-urlencoded"))
        for name, value in options.headers:
            if name.lower() == "host" and value:
                fields[0] = (name, value)
                continue
            fields = [field for field in fields if field[0].lower() != name.lower()]
            if value:
                fields.append((name, value))
        return fields

    async def _connect(self, transfer: Transfer) -> Stream:
        command, options, url = self.command, self.options, transfer.url
        began = self.clock.monotonic_ns()
        limit_s = options.connect_timeout_s or web.CONNECT_TIMEOUT_S
        try:
            async with asyncio.timeout(options.connect_timeout_s or None):
                pinned = options.resolve.get((url.host, url.port))
                ips = (pinned,) if pinned else await self._addresses(url)
        except TimeoutError:
            ms = (self.clock.monotonic_ns() - began) // 1_000_000
            raise CurlError(TIMEOUT, f"Resolving timed out after {ms} milliseconds") from None
        if not ips:
            raise CurlError(RESOLVE, f"Could not resolve host: {url.host}")
        transfer.looked_up_ns = self.clock.monotonic_ns()
        if pinned:
            self._say(f"* Added {url.host}:{url.port}:{pinned} to DNS cache")
            self._say(f"* Hostname {url.host} was found in DNS cache")
        else:
            self._say_resolved(url, ips)
        failure: OSError | None = None
        spent_s = (transfer.looked_up_ns - began) / 1e9 if options.connect_timeout_s else 0.0
        for ip in ips:
            shown = f"[{ip}]" if ":" in ip else ip
            self._say(f"*   Trying {shown}:{url.port}...")
            try:
                stream = await command.env.sockets.connect(
                    command.spec.node,
                    command.spec.netns,
                    ip,
                    url.port,
                    max(limit_s - spent_s, 0.001),
                )
            except OSError as error:
                failure = error
                if not isinstance(error, TimeoutError):
                    self._say(f"* connect to {ip} port {url.port} failed: {error.strerror}")
                continue
            transfer.connected_ns = self.clock.monotonic_ns()
            transfer.remote, transfer.local = (ip, url.port), stream.local
            self._say(f"* Connected to {url.host} ({ip}) port {url.port}")
            return stream
        ms = (self.clock.monotonic_ns() - began) // 1_000_000
        if isinstance(failure, TimeoutError) and options.connect_timeout_s:
            raise CurlError(TIMEOUT, f"Connection timed out after {ms} milliseconds")
        where = f"Failed to connect to {url.host} port {url.port} after {ms} ms"
        code = TIMEOUT if isinstance(failure, TimeoutError) else CONNECT
        raise CurlError(code, f"{where}: Could not connect to server")

    async def _addresses(self, url: Url) -> tuple[str, ...]:
        command = self.command
        return await web.addresses(command.env, command.image.libc, url.host, self.options.family)

    def _say_resolved(self, url: Url, ips: tuple[str, ...]) -> None:
        if ips == (url.host,):
            return
        six = ", ".join(ip for ip in ips if ":" in ip) or "(none)"
        four = ", ".join(ip for ip in ips if ":" not in ip) or "(none)"
        self._say(f"* Host {url.host}:{url.port} was resolved.\n* IPv6: {six}\n* IPv4: {four}")

    # ------------------------------------------------------------------ output

    async def _deliver(self, transfer: Transfer, response: Response) -> None:
        command, options = self.command, self.options
        if options.fail and response.status >= 400:
            raise CurlError(HTTP_ERROR, f"The requested URL returned error: {response.status}")
        data = response.body
        if options.include or options.head:
            head = [f"{response.version} {response.status} {response.reason}"]
            head += [f"{name}: {value}" for name, value in response.headers]
            data = "".join(f"{line}\r\n" for line in [*head, ""]).encode("latin-1") + data
        name = options.output
        if options.remote_name:
            name = transfer.url.target.partition("?")[0].rpartition("/")[2]
        if not options.silent and not command.env.tty:
            command.err(_meter(len(response.body)))
        if name and name != "-":
            path = command.path(name)
            if path != "/dev/null":
                await command.env.write_file(path, data)
        else:
            command.write_out(data)


def _join(url: Url, location: str) -> str:
    if "://" in location:
        return location
    if location.startswith("/"):
        return f"{url.scheme}://{url.authority}{location}"
    base = url.target.partition("?")[0].rpartition("/")[0]
    return f"{url.scheme}://{url.authority}{base}/{location}"


def _meter(size: int) -> str:
    """The progress meter, as it stands at the end (speeds are not modelled)."""
    share = "100" if size else "  0"
    return (
        "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n"
        "                                 Dload  Upload   Total   Spent    Left  Speed\n"
        f"{share} {size:5}  {share} {size:5}    0     0      0      0 --:--:-- --:--:-- --:--:--"
        "     0\n"
    )


def _write_out(form: str, transfer: Transfer) -> str:
    response = transfer.response

    def seconds(at_ns: int) -> str:
        return f"{(at_ns - transfer.began_ns) / 1e9 if at_ns else 0:.6f}"

    status = f"{response.status if response is not None else 0:03}"
    values = {
        "http_code": status, "response_code": status, "exitcode": str(transfer.code),
        "time_namelookup": seconds(transfer.looked_up_ns),
        "time_connect": seconds(transfer.connected_ns),
        "time_appconnect": seconds(0), "time_pretransfer": seconds(transfer.connected_ns),
        "time_starttransfer": seconds(transfer.ended_ns if response is not None else 0),
        "time_total": seconds(transfer.ended_ns), "remote_ip": transfer.remote[0],
        "remote_port": str(transfer.remote[1]), "local_ip": transfer.local[0],
        "local_port": str(transfer.local[1]), "num_redirects": str(transfer.redirects),
        "size_download": str(len(response.body) if response is not None else 0),
        "url_effective": str(transfer.url), "url": str(transfer.url), "scheme": transfer.url.scheme,
        "num_connects": str(int(bool(transfer.connected_ns))), "http_version": "1.1",
        "content_type": response.header("content-type") if response is not None else "",
        "errormsg": "",
    }  # fmt: skip
    out, rest = "", unescape(form)
    while (start := rest.find("%{")) >= 0 and (end := rest.find("}", start)) >= 0:
        out += rest[:start] + values.get(rest[start + 2 : end], "")
        rest = rest[end + 1 :]
    return (out + rest).replace("%%", "%")
