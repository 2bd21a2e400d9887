"""What every composition gives its API server: the paths beside the registry, the first objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import discovery, openapi
from podwire.apiserver.admission import configuration
from podwire.apiserver.authorization import bootstrap
from podwire.apiserver.config import Config
from podwire.apiserver.frontproxy import FrontProxy
from podwire.apiserver.own import Own
from podwire.apiserver.server import Apiserver
from podwire.apiserver.tables.shapes import chooser
from podwire.apiserver.tokens import Issuer
from podwire.client.api import Client
from podwire.sim import addons
from podwire.sim.settings import ClusterSettings

_POLICY = (kinds.CLUSTER_ROLE, kinds.CLUSTER_ROLE_BINDING, kinds.ROLE, kinds.ROLE_BINDING)


def equip(server: Apiserver, own: Own, issuer: Issuer, front_proxy: FrontProxy) -> None:
    """Everything the API server answers beside its registry, the shapes it answers in, who signs
    service accounts' tokens, and who may speak for others.
    """
    server.issue_tokens(issuer)
    server.authenticator.front_proxy = front_proxy
    for route in (*discovery.routes(), *openapi.ROUTES):
        server.routes.add(route)
    server.shapes.append(chooser(server.world.clock.now_ns))
    own.install(server)


def audit(server: Apiserver, settings: ClusterSettings) -> Callable[[], None]:
    """Log requests if the settings say so; what is returned ends it.

    Raises PolicyError, OSError.
    """
    if not settings.audit_policy_file:
        return lambda: None
    from podwire.apiserver.audit import auditor, policy, sink  # noqa: PLC0415  pydantic, if asked for

    found = policy.load(Path(settings.audit_policy_file))
    log = sink.Log(settings.audit_log_path)
    server.auditor = auditor.Auditor(server, found, log)
    return log.close


def admission(settings: ClusterSettings) -> dict[str, Any]:
    """The API server's settings of admission, those that are in a file read.

    Raises ValueError for names and configurations that are wrong, OSError.
    """
    file = settings.admission_control_config_file
    return {
        "enable_admission_plugins": settings.enable_admission_plugins,
        "disable_admission_plugins": settings.disable_admission_plugins,
        "admission_configuration": configuration.load(Path(file)) if file else {},
    }


def config(settings: ClusterSettings) -> Config:
    """The settings of a cluster's API server. Raises ValueError, OSError."""
    return Config(
        service_cidr=settings.service_cidrs,
        advertise_address=settings.control_plane_address,
        authorization_mode=settings.authorization_mode,
        **admission(settings),
    )


async def create_addons(
    server: Apiserver, client: Client, settings: ClusterSettings, *, restored: bool = False
) -> None:
    """Make the addons' objects. What an earlier life of the cluster made (it may have been edited
    since) is left as it is. Raises ApiError.

    ``restored``: the store began with what ``create_first`` makes.
    """
    if not restored:
        await create_first(server, client, settings)
    await server.trust.begin()
    for body in addons.chosen(settings):
        await _create(client, body)
    await server.ensurer.begin()


async def create_first(server: Apiserver, client: Client, settings: ClusterSettings) -> None:
    """Make what is alike in all clusters with these settings, but for uids and times."""
    for body in addons.first(settings):
        await _create(client, body)
    await _ensure_policy(client)
    for body in addons.objects(settings):
        await _create(client, body)
    await server.ensurer.tell()


async def _ensure_policy(client: Client) -> None:
    """The API server's own roles and bindings: made, or mended where an older one made them."""
    held: list[JSON] = []
    for listed in _POLICY:
        answer = msgspec.json.decode((await client.send("GET", listed.path(""))).body)
        named = {"apiVersion": listed.api_version, "kind": listed.kind}
        held += [{**item, **named} for item in answer["items"]]
    for body in bootstrap.complete(bootstrap.objects(), held):
        kind: Kind[Any] = kinds.named(body["apiVersion"], body["kind"])
        if "uid" in body["metadata"]:
            await client.update(kind, body)
        else:
            await client.create(kind, body)


async def _create(client: Client, body: JSON) -> None:
    kind = kinds.by_gvk(body["apiVersion"], body["kind"])
    assert kind is not None, body["kind"]
    try:
        made = await client.create(kind, body)
    except ApiError:
        if not await _exists(client, kind, body["metadata"]):
            raise
        return
    if "status" in body:
        since = {"lastTransitionTime": made.metadata.creation_timestamp}
        conditions = [{**since, **c} for c in body["status"]["conditions"]]
        patch = {"status": {"conditions": conditions}}
        await client.patch(kind, body["metadata"]["name"], patch, subresource="status")


async def _exists(client: Client, kind: Kind[Any], meta: JSON) -> bool:
    try:
        await client.get(kind, meta["name"], meta.get("namespace", ""))
    except ApiError as error:
        if error.reason == "NotFound":
            return False
        raise
    return True
