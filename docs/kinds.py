"""Writes docs/kinds.md from the registry of kinds: ``python docs/kinds.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from podwire.api import kinds, schema
from podwire.api.kinds import Kind
from podwire.apiserver.registry import install
from podwire.apiserver.routes import Routes
from podwire.apiserver.server import Apiserver
from podwire.apiserver.storage import ADMISSION_READS

PAGE = Path(__file__).with_name("kinds.md")

HEAD = """# Kinds

Made by `python docs/kinds.py`. Discovery tells of every resource that a default API server of
Kubernetes 1.37 serves, in its order and its words.

- *modelled*: podwire does what the kind means.
- *stored*: created, read, watched, patched, selected, printed and cleaned up faithfully, but
  nothing acts on it.
- *admission*: stored, and heeded when other objects are written: LimitRanges fill in and bound,
  a RuntimeClass gives pods its overhead and placement, a claim without class gets the default
  StorageClass and grows only if its own allows it, webhook configurations name who is asked
  (docs/admission.md), admission policies refuse, warn of, audit and change what is written.
- *refused*: told by discovery; its one verb answers 405, because there is nothing to store and no
  answer is made up.
- *as ...*: another version of the same objects, converted on the way in and out.

Of modelled kinds, these parts are not: HorizontalPodAutoscaler's metrics of type Pods, Object and
External (conditions say so; docs/metrics.md), PersistentVolumes of other provisioners than
rancher.io/local-path (a claim waits for them, as it does upstream), their expansion, Recycle, the
access mode ReadWriteOncePod and generic ephemeral volumes, pods of Jobs as a gang (alpha),
IPAddresses that people make (they reserve nothing).

Subresources in brackets are told by discovery and answer 405.

| kind | group version | short names | scope | subresources | |
|---|---|---|---|---|---|
"""

ABSENT = """
## Absent

Alpha and beta versions are off by default since Kubernetes 1.24 and absent here: 404, as for a
group nobody ever heard of. Their types are known to the codecs (JSON, YAML, protobuf).

| group version | kinds |
|---|---|
"""


class Server:
    """As much of an API server as its handler table needs."""

    def __init__(self) -> None:
        self.routes = Routes()
        install(cast("Apiserver", self))


def state(kind: Kind[Any], routes: Routes) -> str:
    """What podwire does with a kind."""
    stored = kinds.stored(kind)
    if stored is not kind:
        return f"as {stored.api_version}, {state(stored, routes)}"
    if kind.behaves:
        return "modelled"
    if kind in ADMISSION_READS:
        return "admission"
    if "get" in kind.verbs:
        return "stored"
    return "modelled" if routes.serves(kind, "") else "refused"


def row(kind: Kind[Any], routes: Routes) -> str:
    """One line of the table."""
    parts = [name if routes.serves(kind, name) else f"({name})" for name in kind.parts]
    cells = (
        kind.kind,
        kind.api_version,
        ", ".join(kind.short_names),
        "namespace" if kind.namespaced else "cluster",
        ", ".join(parts),
        state(kind, routes),
    )
    return f"| {' | '.join(cells)} |"


def absent() -> dict[str, list[str]]:
    """Kinds that have a type and are not served, by group version."""
    found: dict[str, list[str]] = {}
    served = {kind.api_version for kind in kinds.ALL}
    for name in schema.kind_names():
        api_version, _, kind = name.rpartition("/")
        if api_version not in served and not api_version.startswith(("meta.", "admission.k8s")):
            found.setdefault(api_version, []).append(kind)
    return dict(sorted(found.items()))


def page() -> str:
    """The whole page."""
    routes = Server().routes
    rows = "\n".join(row(kind, routes) for kind in kinds.ALL)
    missing = "\n".join(f"| {gv} | {', '.join(sorted(names))} |" for gv, names in absent().items())
    return f"{HEAD}{rows}\n{ABSENT}{missing}\n"


if __name__ == "__main__":
    PAGE.write_text(page())
