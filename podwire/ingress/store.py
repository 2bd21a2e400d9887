"""What the controller knows of the cluster, what it says to it, and when something changed.

Source: ingress-nginx v1.15.1 internal/ingress/controller/store and internal/ingress/status. Status
follows events here; upstream looks once a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.api.views import EndpointSlice, Ingress, Object, Pod, Secret, Service
from podwire.client.accounts import service_account
from podwire.client.api import Client
from podwire.client.counters import Process
from podwire.client.ctx import Ctx
from podwire.client.informer import Informers
from podwire.client.klog import Klog
from podwire.client.recorder import Recorder, reference
from podwire.ingress.core import Flags, addresses, last_one, outdated
from podwire.l7.certs import KeyPair, key_pair
from podwire.l7.options import not_modelled
from podwire.l7.table import Backends, Server, Table, compile_table
from podwire.runtime.tasks import Event, Nursery

VERSION = "1.15.1"
COMPONENT = "nginx-ingress-controller"
STATUS_RETRY_S = 60.0
"""Upstream's period; here only after a write that failed."""


class Store:
    """Caches, indexes of what matters, events and status."""

    def __init__(self, ctx: Ctx, process: Process, options: Flags) -> None:
        spec = process.spec
        self._ctx, self._process, self._options = ctx, process, options
        self.klog = Klog(process, ctx.clock)
        account = service_account(spec.namespace, "ingress-nginx")
        self._client = Client(ctx.api, account, f"nginx-ingress-controller/v{VERSION}")
        self._recorder = Recorder(ctx, self._client, COMPONENT)
        self._informers = informers = Informers(self._client, ctx)
        self._ingresses = informers.informer(kinds.INGRESS)
        self._classes = informers.informer(kinds.INGRESS_CLASS)
        self._services = informers.informer(kinds.SERVICE)
        self._slices = informers.informer(kinds.ENDPOINT_SLICE)
        self._secrets = informers.informer(kinds.SECRET)
        self._pods = informers.informer(kinds.POD, namespace=spec.namespace)
        self._nodes = informers.informer(kinds.NODE)
        self.changed = Event()
        """Set when the table may be another."""
        self._status_due = Event()
        self._wanted: dict[str, None] = {}
        """Services that Ingresses name, those that do not exist among them."""
        self._wanted_secrets: dict[str, None] = {}
        self._pairs: dict[str, tuple[str, KeyPair | None]] = {}
        self._initial = True
        self._written: dict[str, int] = {}
        """The revision of the own status write that the cache may not show yet."""

    # ------------------------------------------------------------------ life

    async def start(self, tasks: Nursery) -> None:
        """Watch everything; returns when the caches are filled."""
        tasks.start(self._informers.run(), name="ingress informers")
        tasks.start(self._recorder.run(), name="ingress events")
        await self._informers.wait_synced()
        self._ingresses.on_change(self._ingress_changed)
        self._classes.on_change(lambda _old, _new: self._touch())
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        self._secrets.on_change(self._secret_changed)
        for informer in (self._pods, self._nodes):
            informer.on_change(lambda _old, _new: self._status_due.set())
        if self._options.update_status:
            tasks.start(self._keep_status(), name="ingress status")

    def ready(self) -> None:
        """The first table is in force: from now on changes are told."""
        self._initial = False

    def _touch(self) -> None:
        if not self._initial:
            self.changed.set()
        self._status_due.set()

    # ------------------------------------------------------------------ changes

    def _ingress_changed(self, old: Ingress | None, new: Ingress | None) -> None:
        known = self._classes.list()
        refused = self._options.classes.refused
        before = old is not None and not refused(old, known)
        if new is None:
            self._written.pop(_key(old, new), None)
            if before:
                self._touch()
            return
        if refused(new, known):
            why = "ignoring ingress" if not before else "removing ingress"
            self.klog.info_s(
                "store.go:440", f"{why} because of unknown ingressclass", ingress=new.key
            )
            if before:
                self._touch()
            return
        if old is None or not before:
            self.klog.info_s("store.go:456", "Found valid IngressClass", ingress=new.key)
        self._recorder.emit(new, "Normal", "Sync", "Scheduled for sync")
        if old is None or old.metadata.annotations != new.metadata.annotations or not before:
            for name in not_modelled(new):
                text = f"annotation {name} is not modelled and has no effect"
                self._recorder.emit(new, "Warning", "NotModelled", text)
        if old is None or not before or _meaning(old) != _meaning(new):
            self._touch()
        else:
            self._status_due.set()

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        key = _key(old, new)
        if key in self._wanted:
            self._touch()
        if key == self._options.publish_service:
            self._status_due.set()

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        about = new if new is not None else old
        assert about is not None
        if f"{about.metadata.namespace}/{about.service_name}" in self._wanted:
            self._touch()

    def _secret_changed(self, old: Secret | None, new: Secret | None) -> None:
        if _key(old, new) in self._wanted_secrets:
            self._touch()

    # ------------------------------------------------------------------ the table

    def _served(self) -> list[Ingress]:
        known = self._classes.list()
        refused = self._options.classes.refused
        return [i for i in self._ingresses.list() if not refused(i, known)]

    def table(self) -> Table:
        """The route table as the caches are."""
        ingresses = self._served()
        self._wanted = {key: None for i in ingresses for key in _services_of(i)}
        self._wanted_secrets = {
            f"{i.metadata.namespace}/{tls.secret_name}": None
            for i in ingresses
            for tls in i.spec.tls
        }
        self._pairs = {k: v for k, v in self._pairs.items() if k in self._wanted_secrets}
        services = [s for key in self._wanted if (s := self._services.by_key(key)) is not None]
        slices = [
            s
            for s in (self._slices.list() if self._wanted else ())
            if f"{s.metadata.namespace}/{s.service_name}" in self._wanted
        ]
        return compile_table(ingresses, Backends(services, slices), self.names)

    def configuration(self, table: Table) -> dict[str, Server]:
        """The table without its endpoints: what nginx would have to reload for."""

        def bare(server: Server) -> Server:
            return replace(
                server,
                locations=tuple(
                    replace(location, upstream=replace(location.upstream, endpoints=(), problem=""))
                    if location.upstream is not None
                    else location
                    for location in server.locations
                ),
            )

        return {host: bare(server) for host, server in table.servers.items()}

    def reloaded(self) -> None:
        """Tell of a reload, as an Event about the pod."""
        spec = self._process.spec
        pod = self._pods.get(spec.namespace, spec.pod)
        involved: JSON = (
            reference(pod)
            if pod is not None
            else {"kind": "Pod", "namespace": spec.namespace, "name": spec.pod}
        )
        text = "NGINX reload triggered due to a change in configuration"
        self._recorder.emit_reference(involved, "Normal", "RELOAD", text)

    # ------------------------------------------------------------------ certificates

    def names(self, key: str) -> Sequence[str] | None:
        """The DNS names of the certificate in a Secret."""
        found = self.pair(key)
        return found.names if found is not None else None

    def pair(self, key: str) -> KeyPair | None:
        """The certificate and key in a Secret; None when there is no usable one."""
        secret = self._secrets.by_key(key)
        if secret is None:
            self._pairs.pop(key, None)
            return None
        version = f"{secret.metadata.uid}/{secret.metadata.resource_version}"
        known = self._pairs.get(key)
        if known is not None and known[0] == version:
            return known[1]
        found: KeyPair | None = None
        try:
            found = key_pair(secret)
        except ValueError as error:
            self.klog.warning("backend_ssl.go:47", f"Error obtaining X.509 certificate: {error}")
        self._pairs[key] = (version, found)
        return found

    # ------------------------------------------------------------------ status

    def _own_pod(self) -> Pod | None:
        spec = self._process.spec
        return self._pods.get(spec.namespace, spec.pod)

    def _addresses(self) -> list[JSON]:
        service = self._services.by_key(self._options.publish_service)
        return addresses(
            self._options, self._own_pod(), self._pods.list(), self._nodes.list(), service
        )

    async def _keep_status(self) -> None:
        while True:
            await self._status_due.wait()
            self._status_due.clear()
            wanted = self._addresses()
            # Not before this pod is ready; upstream would write an empty status until then.
            if wanted and not await self._write_status(wanted):
                self._ctx.clock.call_later(STATUS_RETRY_S, self._status_due.set)

    async def _write_status(self, wanted: list[JSON]) -> bool:
        """Write it where it differs; whether every write worked."""
        good = True
        for ingress in outdated(self._served(), wanted):
            meta = ingress.metadata
            if int(meta.resource_version) < self._written.get(ingress.key, 0):
                continue  # the cache is older than what was written
            patch = {"status": {"loadBalancer": {"ingress": wanted}}}
            self.klog.info_s("status.go:311", "updating Ingress status", ingress=ingress.key)
            try:
                done = await self._client.patch(
                    kinds.INGRESS, meta.name, patch, meta.namespace, subresource="status"
                )
                self._written[ingress.key] = int(done.metadata.resource_version)
            except (ApiError, ConnectionError) as error:
                good = good and isinstance(error, ApiError) and error.reason == "NotFound"
                self.klog.warning("status.go:318", f"error updating ingress rule: {error}")
        return good

    async def shutdown(self) -> None:
        """The last controller takes its addresses along."""
        alone = last_one(self._own_pod(), self._pods.list())
        if self._options.update_status and self._options.update_status_on_shutdown and alone:
            self.klog.info_s("status.go:135", "removing value from ingress status")
            await self._write_status([])


def _key(old: Object | None, new: Object | None) -> str:
    about = new if new is not None else old
    return about.key if about is not None else ""


def _meaning(ingress: Ingress) -> tuple[Any, ...]:
    """What the table is made of."""
    return ingress.spec, ingress.metadata.annotations, ingress.metadata.uid


def _services_of(ingress: Ingress) -> Iterable[str]:
    """The Services that an Ingress names."""
    backends = [ingress.spec.default_backend]
    for rule in ingress.spec.rules:
        backends += [path.backend for path in rule.http.paths] if rule.http is not None else []
    for backend in backends:
        if backend is not None and backend.service is not None:
            yield f"{ingress.metadata.namespace}/{backend.service.name}"
