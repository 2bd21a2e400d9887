"""Impersonate-* headers: acting as somebody else, if one may.

Source: apiserver pkg/endpoints/filters/impersonation. A header that was sent more than once
arrives as one value whose parts stand on lines of their own (no header value can hold a line
break); ``http/headers.py`` joins them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from podwire.api import names
from podwire.api.status import ApiError
from podwire.apiserver import accounts, authorizer
from podwire.apiserver.authorization.attributes import Attributes
from podwire.client.counters import ANONYMOUS, Request, User

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

PREFIX = "impersonate-"
_USER, _UID, _GROUP = "impersonate-user", "impersonate-uid", "impersonate-group"
_EXTRA = "impersonate-extra-"
_AUTHENTICATION = "authentication.k8s.io"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(slots=True)
class _Wanted:
    """The headers as they were sent."""

    name: str = ""
    uid: str = ""
    groups: list[str] = field(default_factory=list)
    extra: dict[str, list[str]] = field(default_factory=dict)


def applied(server: Apiserver, request: Request) -> Request:
    """The request as the user whom its headers name makes it, without those headers.

    Raises ApiError BadRequest (nobody named), Forbidden.
    """
    return _applied(server, request) if is_asked(request.headers) else request


def is_asked(headers: Mapping[str, str]) -> bool:
    """Whether somebody is to be impersonated."""
    for name in headers:  # noqa: SIM110  a generator costs each request more than the look
        if name.startswith(PREFIX):
            return True
    return False


def _applied(server: Apiserver, request: Request) -> Request:
    wanted = _read(request.headers)
    rest = {k: v for k, v in request.headers.items() if not k.startswith(PREFIX)}
    if not wanted.name:
        if wanted.uid or wanted.groups or wanted.extra:
            message = f"requested {_go(wanted)} without impersonating a user name"
            raise ApiError("BadRequest", message)
        return replace(request, headers=rest)
    user = _permitted(server, request.user or ANONYMOUS, wanted)
    return replace(request, headers=rest, user=user)


def split_account(name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name, None for another user."""
    if not name.startswith(accounts.PREFIX):
        return None
    namespace, colon, account = name.removeprefix(accounts.PREFIX).partition(":")
    if not colon or ":" in account:
        return None
    if names.dns1123_label(namespace) or names.dns1123_subdomain(account):
        return None
    return namespace, account


def _read(headers: Mapping[str, str]) -> _Wanted:
    wanted = _Wanted()
    for name, value in headers.items():
        values = value.split("\n")
        if name == _USER:
            wanted.name = values[0]
        elif name == _UID:
            wanted.uid = values[0]
        elif name == _GROUP:
            wanted.groups += values
        elif name.startswith(_EXTRA):
            key = name.removeprefix(_EXTRA).lower()
            if not _BAD_ESCAPE.search(key):
                key = unquote(key)
            wanted.extra.setdefault(key, []).extend(values)
    return wanted


def _permitted(server: Apiserver, requestor: User, wanted: _Wanted) -> User:
    """The user to be, each part of it asked for. Raises ApiError Forbidden."""

    def ask(resource: str, name: str, group: str = "", namespace: str = "", sub: str = "") -> None:
        version = "v1"
        asked = Attributes(
            requestor, "impersonate", group, version, resource, sub, namespace, name
        )  # fmt: skip
        authorizer.demand(server, asked)

    groups = list(wanted.groups)
    account = split_account(wanted.name)
    if account is not None:
        ask("serviceaccounts", account[1], namespace=account[0])
        groups = groups or list(accounts.groups_of(account[0]))
    else:
        ask("users", wanted.name)
    if wanted.uid:
        ask("uids", wanted.uid, _AUTHENTICATION)
    for group in wanted.groups:
        ask("groups", group)
    for key, values in wanted.extra.items():
        for value in values:
            ask("userextras", value, _AUTHENTICATION, sub=key)
    ensured = accounts.AUTHENTICATED
    if wanted.name == ANONYMOUS.name:
        ensured = authorizer.UNAUTHENTICATED
    if ensured not in groups and authorizer.UNAUTHENTICATED not in groups:
        groups.append(ensured)
    extra = tuple((key, tuple(values)) for key, values in sorted(wanted.extra.items()))
    return User(wanted.name, tuple(groups), wanted.uid, extra)


def _go(wanted: _Wanted) -> str:
    """The headers as Go prints the struct (%#v)."""

    def quoted(items: list[str]) -> str:
        return "{" + ", ".join(f'"{item}"' for item in items) + "}"

    groups = f"[]string{quoted(wanted.groups)}" if wanted.groups else "[]string(nil)"
    pairs = ", ".join(f'"{k}":[]string{quoted(v)}' for k, v in sorted(wanted.extra.items()))
    extra = f"map[string][]string{{{pairs}}}" if wanted.extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:"{wanted.uid}", Groups:{groups}, Extra:{extra}}}'
