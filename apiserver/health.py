"""/version, /healthz, /livez, /readyz. Source: apiserver pkg/server/healthz."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from podwire.apiserver import answers
from podwire.apiserver.calls import Query
from podwire.apiserver.routes import Route
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_ENDPOINTS = ("healthz", "livez", "readyz")


async def version(server: Apiserver, _request: Request) -> Response:
    """What ``kubectl version`` prints of the server."""
    git = server.config.git_version
    major, minor = git.lstrip("v").split(".")[:2]
    return answers.json(
        {
            "major": major,
            "minor": minor,
            "emulationMajor": major,
            "emulationMinor": minor,
            "gitVersion": git,
            "gitCommit": "podwire",
            "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z",
            "goVersion": "none (podwire)",
            "compiler": "cpython",
            "platform": "linux/amd64",
        }
    )


async def health(server: Apiserver, request: Request) -> Response:
    """All checks of an endpoint, or one of them (``/readyz/NAME``)."""
    endpoint, _, only = request.path.strip("/").partition("/")
    checks = server.checks
    if only:
        if only not in checks:
            return answers.page_not_found()
        checks = {only: checks[only]}
    query = Query(request.query)
    excluded = query.all("exclude")
    lines, failed = [], False
    for name, check in checks.items():
        problem = None if name in excluded else check(endpoint)
        if isinstance(problem, Awaitable):
            problem = await problem
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif problem is None:
            lines.append(f"[+]{name} ok")
        else:
            failed = True
            lines.append(f"[-]{name} failed: {problem}")
    if failed:
        body = "\n".join([*lines, f"{endpoint} check failed", ""])
        return answers.text(body, 500)
    if not query.has("verbose"):
        return answers.text("ok")
    return answers.text("\n".join([*lines, f"{endpoint} check passed", ""]))


ROUTES = (
    Route("/version", version, open=True),
    *(Route(f"/{name}", health, open=True) for name in _ENDPOINTS),
    *(Route(f"/{name}/*", health, open=True) for name in _ENDPOINTS),
)
"""What anonymous may ask."""
