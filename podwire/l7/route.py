"""One request through the table: where nginx would send it, or what it would answer itself.

Source: nginx's ngx_http_core_find_location and URI normalisation; ingress-nginx v1.15.1
lua_ingress.lua (redirect_to_https), template.go (buildProxyPass).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from podwire.l7.table import CATCH_ALL, Location, Server, Table, Upstream

_UNESCAPED = "/:@!$&'()*+,;=~-._[]|^`{}<>\"\\"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request. ``status`` 0 proxies it to ``upstream`` as ``target``."""

    status: int
    reason: str
    server: Server
    location: Location | None = None
    upstream: Upstream | None = None
    target: str = ""
    redirect: str = ""

    @property
    def rule(self) -> str:
        """The rule that decided, for people: ``rule app.example.com /api (Prefix)``."""
        return rule_text(self.server, self.location) if self.location is not None else ""


def rule_text(server: Server, location: Location) -> str:
    """A location as its Ingress declares it."""
    host = "*" if server.host == CATCH_ALL else server.host
    if location.default:
        return f"no rule of host {host}"
    if location.declared == "defaultBackend":
        return "defaultBackend"
    return f"rule {host} {location.declared}"


def host_of(authority: str) -> str:
    """The host of a Host header as nginx compares it: without port, lower case."""
    if authority.startswith("["):
        return authority.partition("]")[0].lower() + "]"
    return authority.partition(":")[0].lower().removesuffix(".")


def decide(table: Table, scheme: str, authority: str, target: str) -> Decision:
    """Route a request line's target (path and query, undecoded) by scheme and Host header."""
    server = table.server(host_of(authority))
    path = normalized(target)
    if path is None:
        return Decision(400, "the request's path is no valid URI", server)
    location = _find(server, path)
    if location is None:
        return Decision(404, f"no location of {server.host} matches {path}", server)
    own = location.options
    secure = server.certificate is not None and server.host != CATCH_ALL
    if scheme == "http" and (own.force_ssl_redirect or (own.ssl_redirect and secure)):
        uri = target
        if not own.preserve_trailing_slash:
            uri = uri.removesuffix("/")
        why = "ssl-redirect, and the host has TLS" if secure else "force-ssl-redirect"
        where = f"https://{authority.partition(':')[0]}{uri}"
        return Decision(308, why, server, location, redirect=where)
    upstream = location.upstream
    if upstream is None:
        return Decision(404, _unmatched(server, path), server, location)
    if not upstream.endpoints:
        return Decision(503, upstream.problem, server, location, upstream)
    return Decision(0, "", server, location, upstream, _rewritten(location, path, target))


def _unmatched(server: Server, path: str) -> str:
    if server.host == CATCH_ALL:
        return "no Ingress has a rule for this host, nor a defaultBackend without rules"
    return f"host {server.host} has no rule for {path}, and its Ingress no defaultBackend"


def _find(server: Server, path: str) -> Location | None:
    """Regular expressions in order; else the exact path, else the longest prefix."""
    if server.regex:
        return next((loc for loc in server.locations if _hits(loc, path)), None)
    longest: Location | None = None
    for location in server.locations:  # longest first
        if location.path_type == "Exact":
            if path == location.path:
                return location
        elif longest is None and path.startswith(location.path):
            longest = location
    return longest


def _hits(location: Location, path: str) -> bool:
    return location.pattern is not None and location.pattern.match(path) is not None


def _rewritten(location: Location, path: str, target: str) -> str:
    """The target that the upstream sees: rewrite-target with its groups; the query stays."""
    template = location.options.rewrite_target
    if not template or template == location.path:
        return target
    found = re.search(location.path, path, re.IGNORECASE)
    if found is None:
        return target

    def group(wanted: re.Match[str]) -> str:
        number = int(wanted.group(1))
        return (found.group(number) or "") if number <= len(found.groups()) else ""

    uri, _, own = re.sub(r"\$(\d)", group, template).partition("?")
    # What was decoded to be matched is escaped again (ngx_escape_uri).
    escaped = quote(uri.encode("latin-1", "replace"), safe=_UNESCAPED) or "/"
    query = "&".join(filter(None, (own, target.partition("?")[2])))
    return f"{escaped}?{query}" if query else escaped


# ---------------------------------------------------------------- URIs


def normalized(target: str) -> str | None:
    """The path that locations are compared with: decoded, ``//`` merged, dots resolved.

    None for what nginx answers with 400: a bad escape, NUL, or a path above the root.
    """
    raw = target.partition("?")[0].partition("#")[0]
    if not raw.startswith("/"):
        return None
    if re.search(r"%(?![0-9A-Fa-f]{2})", raw) or "%00" in raw:
        return None
    data = re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m.group(1), 16)]), raw.encode("latin-1")
    )
    path = data.decode("latin-1")
    parts: list[str] = []
    pieces = path.split("/")[1:]
    for i, piece in enumerate(pieces):
        last = i == len(pieces) - 1
        if piece in {"", "."}:
            if last:
                parts.append("")
        elif piece == "..":
            if not parts:
                return None
            parts.pop()
            if last:
                parts.append("")
        else:
            parts.append(piece)
    return "/" + "/".join(parts)
