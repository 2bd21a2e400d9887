"""A small blocking API client over a kubeconfig, for command line verbs.

It imports no event loop, so that a verb answers as fast as the server does.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from podwire.api import yamldoc
from podwire.api.status import ApiError, from_status


class Unreachable(Exception):  # noqa: N818  it is a state of the world, not a bug
    """The API server does not answer; the message says where it was looked for."""


class RestClient:
    """Requests to the current (or the named) context of a kubeconfig."""

    def __init__(self, kubeconfig: str, context: str = "") -> None:
        try:
            config = yamldoc.load(Path(kubeconfig).read_bytes()) or {}
        except (OSError, yamldoc.YamlError) as error:
            raise Unreachable(f"cannot read kubeconfig {kubeconfig}: {error}") from error
        if not isinstance(config, dict):
            raise Unreachable(f"{kubeconfig} is no kubeconfig")
        name = context or config.get("current-context", "")
        try:
            chosen = _named(config, "contexts", name).get("context", {})
            cluster = _named(config, "clusters", chosen.get("cluster", "")).get("cluster", {})
            user = _named(config, "users", chosen.get("user", "")).get("user", {})
            self.server = str(cluster.get("server") or "")
            self._token = str(user.get("token") or "")
            self._tls = _tls(cluster, user) if self.server.startswith("https") else None
            address = urlsplit(self.server)
            self._address = address.hostname or "", address.port or (443 if self._tls else 80)
        except (AttributeError, TypeError, LookupError, ValueError, OSError) as error:
            raise Unreachable(f"context {name!r} of {kubeconfig} is not usable: {error}") from error
        if not self.server:
            raise Unreachable(f"kubeconfig {kubeconfig} has no usable context {name!r}")

    def request(self, method: str, path: str, body: Any = None, timeout_s: float = 30.0) -> Any:
        """The decoded answer. Raises ApiError, Unreachable."""
        host, port = self._address
        connection: http.client.HTTPConnection
        if self._tls is not None:
            connection = http.client.HTTPSConnection(
                host, port, timeout=timeout_s, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        headers = {"Accept": "application/json", "User-Agent": "podwire-cli"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"cannot reach {self.server}: {error}") from error
        finally:
            connection.close()
        return _decode(response.status, answer)


def _decode(status: int, answer: bytes) -> Any:
    try:
        decoded = json.loads(answer) if answer else {}
    except ValueError:
        decoded = {"message": answer.decode(errors="replace")}
    if status >= http.HTTPStatus.BAD_REQUEST:
        body = decoded if isinstance(decoded, dict) else {}
        raise (
            from_status(status, body)
            if body.get("reason")
            else ApiError("InternalError", body.get("message", ""), status)
        )
    return decoded


def _named(config: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    entries = config.get(section) or []
    return next((entry for entry in entries if entry.get("name") == name), {})


def _tls(cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if "certificate-authority-data" in cluster:
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
    elif "certificate-authority" in cluster:
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    if "client-certificate-data" in user:
        _load_chain(context, user["client-certificate-data"], user["client-key-data"])
    elif "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    return context


def _load_chain(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Python's ssl reads client certificates from files only; this one lives for a moment."""
    descriptor, path = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64decode(certificate) + base64.b64decode(key))
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()
