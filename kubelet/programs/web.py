"""What curl and wget share: URLs, and a connection to a name."""

from __future__ import annotations

from dataclasses import dataclass

from podwire.client.counters import Stream
from podwire.kubelet.programs import names
from podwire.kubelet.programs.env import ExecEnv

CONNECT_TIMEOUT_S = 127.0
"""Six retransmissions of a SYN (tcp_syn_retries)."""


@dataclass(frozen=True, slots=True)
class Url:
    """A URL that was parsed; ``target`` is path and query."""

    scheme: str
    host: str
    port: int
    target: str
    user: str = ""

    @property
    def authority(self) -> str:
        """The Host header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return shown if self.port == default else f"{shown}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """A URL; ``http`` when it names no scheme. Raises ValueError (its text is curl's)."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "http", text
    scheme = scheme.lower()
    if scheme not in {"http", "https"}:
        raise ValueError(f'Protocol "{scheme}" not supported')
    end = min((at for c in "/?#" if (at := rest.find(c)) >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:].partition("#")[0]
    user, _, place = authority.rpartition("@")
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        port = port.removeprefix(":")
        if not bracket:
            raise ValueError("URL rejected: Bad IPv6 address")
    else:
        host, _, port = place.partition(":")
    number = port or ("443" if scheme == "https" else "80")
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
        raise ValueError("URL rejected: Port number was not a decimal number between 0 and 65535")
    if not host or any(c.isspace() for c in authority):
        raise ValueError("URL rejected: No host part in the URL")
    if not target.startswith("/"):
        target = f"/{target}"
    return Url(scheme, host, int(number), target.replace(" ", "%20"), user)


async def addresses(env: ExecEnv, libc: str, host: str, family: str = "any") -> tuple[str, ...]:
    """The addresses of a host name; () when it does not resolve."""
    return (await names.lookup(env, libc, host, family)).addresses


async def connect(env: ExecEnv, ips: tuple[str, ...], port: int, timeout_s: float) -> Stream:
    """Connect to the first address that accepts. Raises the last OSError."""
    failure: OSError = OSError("no address")
    for ip in ips:
        try:
            return await env.sockets.connect(env.spec.node, env.spec.netns, ip, port, timeout_s)
        except OSError as error:
            failure = error
    raise failure
