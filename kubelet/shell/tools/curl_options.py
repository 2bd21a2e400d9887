"""curl's command line."""

from __future__ import annotations

from dataclasses import dataclass, field

from podwire.kubelet.shell.command import Command, UsageError

_LONG = {
    "silent": "s", "show-error": "S", "verbose": "v", "output": "o", "write-out": "w",
    "max-time": "m", "include": "i", "head": "I", "header": "H", "request": "X", "data": "d",
    "data-raw": "d", "data-ascii": "d", "data-binary": "d", "insecure": "k", "globoff": "g",
    "disable": "q", "location": "L", "fail": "f", "user": "u", "user-agent": "A", "ipv4": "4",
    "ipv6": "6", "no-buffer": "N", "get": "G", "remote-name": "O", "cacert": "cacert",
    "connect-timeout": "connect-timeout", "url": "url", "resolve": "resolve", "json": "json",
    "fail-with-body": "f", "http1.1": "N", "compressed": "N", "no-progress-meter": "N",
    "tcp-nodelay": "N", "no-keepalive": "N", "http1.0": "N", "noproxy": "noproxy",
    "proto": "noproxy", "retry": "retry", "retry-delay": "retry-delay", "location-trusted": "L",
    "retry-connrefused": "retry-connrefused", "retry-all-errors": "retry-all-errors",
}  # fmt: skip
_VALUED = ("o", "w", "m", "H", "X", "d", "u", "A", "cacert", "connect-timeout", "url", "resolve",
           "json", "noproxy", "retry", "retry-delay")  # fmt: skip
_FLAGS = {
    "s": "silent", "S": "show_error", "v": "verbose", "i": "include", "I": "head", "k": "insecure",
    "L": "follow", "f": "fail", "G": "get", "O": "remote_name",
    "retry-connrefused": "retry_refused", "retry-all-errors": "retry_all",
}  # fmt: skip
_NUMBERS: dict[str, tuple[str, type[int | float]]] = {
    "m": ("max_time_s", float),
    "connect-timeout": ("connect_timeout_s", float),
    "retry": ("retries", int),
    "retry-delay": ("retry_delay_s", float),
}


@dataclass(slots=True)
class Options:
    """What the flags say. Zero timeouts mean none."""

    urls: list[str] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    resolve: dict[tuple[str, int], str] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    silent: bool = False
    show_error: bool = False
    verbose: bool = False
    include: bool = False
    head: bool = False
    insecure: bool = False
    follow: bool = False
    fail: bool = False
    get: bool = False
    remote_name: bool = False
    output: str = ""
    write_out: str = ""
    user: str = ""
    user_agent: str = ""
    ca_file: str = ""
    family: str = "any"
    request: str = ""
    retries: int = 0
    retry_delay_s: float = 0.0
    retry_refused: bool = False
    retry_all: bool = False
    max_time_s: float = 0.0
    connect_timeout_s: float = 0.0

    @property
    def method(self) -> str:
        """The request method."""
        if self.request:
            return self.request
        return "HEAD" if self.head else "POST" if self.data and not self.get else "GET"

    @property
    def body(self) -> bytes:
        """The request body."""
        return b"" if self.get else "&".join(self.data).encode(errors="surrogateescape")


def parse(command: Command) -> Options:
    """Read the command line. Raises UsageError (exit 2) for what is unknown."""
    options = Options()
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg.startswith("--"):
            name, equals, value = arg[2:].partition("=")
            if name not in _LONG:
                raise UsageError(f"option {arg}: is unknown or not modelled", 2)
            key = _LONG[name]
            if key in _VALUED:
                text = value if equals else _next(args, arg)
                _set(command, options, key, text, raw=name in {"data-raw", "data-binary"})
            else:
                _flag(options, key)
        elif arg.startswith("-") and len(arg) > 1:
            _short(command, options, arg, args)
        else:
            options.urls.append(arg)
    if options.get and options.data:
        query = "&".join(options.data)
        options.urls = [f"{url}{'&' if '?' in url else '?'}{query}" for url in options.urls]
    return options


def _short(command: Command, options: Options, arg: str, args: list[str]) -> None:
    for i, key in enumerate(arg[1:], 2):
        if key in _VALUED:
            _set(command, options, key, arg[i:] or _next(args, f"-{key}"))
            return
        if key not in _FLAGS and key not in "gq46N#0":
            raise UsageError(f"option -{key}: is unknown or not modelled", 2)
        _flag(options, key)


def _next(args: list[str], name: str) -> str:
    if not args:
        raise UsageError(f"option {name}: requires parameter", 2)
    return args.pop(0)


def _flag(options: Options, key: str) -> None:
    if key in _FLAGS:
        setattr(options, _FLAGS[key], True)
    elif key in "46":
        options.family = "inet" if key == "4" else "inet6"


def _set(command: Command, options: Options, key: str, value: str, *, raw: bool = False) -> None:
    plain = {"o": "output", "w": "write_out", "X": "request", "u": "user", "A": "user_agent",
             "cacert": "ca_file"}  # fmt: skip
    if key in plain:
        setattr(options, plain[key], value)
    elif key in _NUMBERS:
        if not value.replace(".", "", 1).isdigit() or not value.isascii():
            raise UsageError(f"option -{key}: expected a proper numerical parameter", 2)
        name, kind = _NUMBERS[key]
        setattr(options, name, kind(float(value)))
    elif key == "H":
        name, _, text = value.partition(":")
        options.headers.append((name.strip(), text.strip()))
    elif key in {"d", "json"}:
        options.data.append(_data(command, value, raw=raw))
        if key == "json":
            options.headers += [
                ("Content-Type", "application/json"),
                ("Accept", "application/json"),
            ]
    elif key == "url":
        options.urls.append(value)
    elif key == "resolve":
        host, port, address = [*value.split(":", 2), "", ""][:3]
        if not port.isdigit() or not address:
            raise UsageError(f"Could not parse CURLOPT_RESOLVE entry '{value}'", 49)
        options.resolve[host.lstrip("+"), int(port)] = address.strip("[]")


def _data(command: Command, value: str, *, raw: bool) -> str:
    if not value.startswith("@") or (raw and value == "@"):
        return value
    text = command.read_file(value[1:]).decode(errors="surrogateescape")
    return text if raw else text.replace("\n", "").replace("\r", "")
