"""/, /version, /healthz, /livez, /readyz. Source: apiserver pkg/server/{healthz,routes}."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from podwire.apiserver import answers
from podwire.apiserver.calls import Query
from podwire.apiserver.routes import Route
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver, Check

_ENDPOINTS = ("healthz", "livez", "readyz")


async def version(server: Apiserver, _request: Request) -> Response:
    """What ``kubectl version`` prints of the server."""
    git = server.config.git_version
    major, minor = git.lstrip("v").split(".")[:2]
    return answers.indented(
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


async def root(server: Apiserver, _request: Request) -> Response:
    """What else is served, for who asks ``/``."""
    checks = [f"/{name}/{check}" for name in _ENDPOINTS for check in server.checks]
    paths = [path for path in server.routes.paths() if path != "/" and not path.endswith("/*")]
    return answers.indented({"paths": sorted([*paths, *checks])})


async def health(server: Apiserver, request: Request) -> Response:
    """All checks of an endpoint, or one of them (``/readyz/NAME``)."""
    endpoint, _, only = request.path.strip("/").partition("/")
    if only:
        return await _one(server, endpoint, only)
    query = Query(request.query)
    excluded = dict.fromkeys(query.all("exclude"))
    lines, failed = [], False
    for name, check in server.checks.items():
        if name in excluded:
            del excluded[name]
            lines.append(f"[+]{name} excluded: ok")
        elif (problem := await _checked(check, endpoint)) is None:
            lines.append(f"[+]{name} ok")
        else:
            failed = True
            server.world.log.info("health check failed", check=name, why=problem)
            lines.append(f"[-]{name} failed: reason withheld")  # everybody may ask
    if excluded:
        listed = ", ".join(f'"{name}"' for name in sorted(excluded))
        lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
    if failed:
        return answers.text("\n".join([*lines, f"{endpoint} check failed", ""]), 500)
    if not query.has("verbose"):
        return answers.text("ok")
    return answers.text("\n".join([*lines, f"{endpoint} check passed", ""]))


async def _one(server: Apiserver, endpoint: str, name: str) -> Response:
    check = server.checks.get(name)
    if check is None:
        return answers.page_not_found()
    problem = await _checked(check, endpoint)
    if problem is None:
        return answers.text("ok")
    return answers.text(f"internal server error: {problem}\n", 500)


async def _checked(check: Check, endpoint: str) -> str | None:
    problem = check(endpoint)
    return await problem if isinstance(problem, Awaitable) else problem


ROUTES = (
    Route("/", root),
    Route("/version", version, open=True),
    *(Route(f"/{name}", health, open=True) for name in _ENDPOINTS),
    *(Route(f"/{name}/*", health, open=True) for name in _ENDPOINTS),
)
"""What anonymous may ask."""
