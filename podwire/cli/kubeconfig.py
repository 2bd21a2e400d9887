"""Kubeconfig files, handled the way kind does: lock, merge, write, never lose what was there.

Source of the behaviour: kind pkg/cluster/internal/kubeconfig (paths, lock, merge, remove).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from podwire.api import yamldoc
from podwire.runtime.files import write_private


class KubeconfigError(Exception):
    """A kubeconfig cannot be read or locked; the message says what to do."""


def context_name(cluster: str) -> str:
    """The context, cluster and user name of a podwire cluster."""
    return f"podwire-{cluster}"


def candidates(explicit: str | None, environ: Mapping[str, str]) -> list[Path]:
    """The files that ``KUBECONFIG`` (or ``--kubeconfig``) names, in order."""
    if explicit:
        return [Path(explicit)]
    named = [Path(p) for p in environ.get("KUBECONFIG", "").split(os.pathsep) if p]
    return named or [Path(environ.get("HOME", "/")) / ".kube" / "config"]


def write_target(explicit: str | None, environ: Mapping[str, str]) -> Path:
    """The file to write: the first that exists, else the last (as client-go does)."""
    paths = candidates(explicit, environ)
    return next((path for path in paths if path.exists()), paths[-1])


def document(cluster: str, server: str, ca: bytes, certificate: bytes, key: bytes) -> Any:
    """A kubeconfig of one cluster."""
    name = context_name(cluster)

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": server, "certificate-authority-data": encoded(ca)}}
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": encoded(certificate),
                    "client-key-data": encoded(key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "preferences": {},
    }


def merge(path: Path, addition: Any) -> None:
    """Merge ``addition`` into the file under its lock and make its context current."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        existing = _read(path)
        for section in ("clusters", "users", "contexts"):
            new = {entry["name"]: entry for entry in addition[section]}
            kept = [e for e in existing.get(section) or [] if e.get("name") not in new]
            existing[section] = kept + list(new.values())
        existing.setdefault("apiVersion", "v1")
        existing.setdefault("kind", "Config")
        existing.setdefault("preferences", {})
        existing["current-context"] = addition["current-context"]
        write_private(path, dump(existing).encode())


def copy(source: Path, target: Path) -> None:
    """Merge one kubeconfig into another. Raises KubeconfigError."""
    merge(target, _read(source))


def remove(paths: list[Path], cluster: str) -> list[Path]:
    """Remove a cluster's entries from every file that has them; the files changed."""
    name = context_name(cluster)
    changed = []
    for path in paths:
        if not path.exists():
            continue
        with _locked(path):
            existing = _read(path)
            before = yaml.safe_dump(existing)
            for section in ("clusters", "users", "contexts"):
                existing[section] = [
                    e for e in existing.get(section) or [] if e.get("name") != name
                ]
            if existing.get("current-context") == name:
                existing["current-context"] = ""
            if yaml.safe_dump(existing) != before:
                write_private(path, dump(existing).encode())
                changed.append(path)
    return changed


def has_context(path: Path, context: str) -> bool:
    """Whether a kubeconfig has a context. Raises KubeconfigError when it cannot be read."""
    return any(entry.get("name") == context for entry in _read(path).get("contexts") or [])


def dump(config: Any) -> str:
    """A kubeconfig as YAML."""
    return yaml.safe_dump(config, sort_keys=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = yamldoc.load(path.read_bytes()) if path.exists() else None
    except yamldoc.YamlError as error:
        raise KubeconfigError(f"{path} is not YAML ({error}); move it away or mend it") from error
    if loaded is not None and not isinstance(loaded, dict):
        raise KubeconfigError(f"{path} is not a kubeconfig; move it away or mend it")
    found = loaded or {}
    for section in ("clusters", "contexts", "users"):
        entries = found.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise KubeconfigError(f"{path}: {section}: expected a list of objects; mend it")
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """client-go's lock: ``<file>.lock``, made exclusively."""
    lock = path.with_name(path.name + ".lock")
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise KubeconfigError(
            f"{path} is locked by another program; if none runs, remove {lock} and try again"
        ) from None
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            lock.unlink()
