"""The API server as a process: HTTPS for everybody, a framed counter for the rooms."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from podwire.api import kinds
from podwire.apiserver import components
from podwire.apiserver.config import Config
from podwire.apiserver.encryption import open_encrypted
from podwire.apiserver.http.server import HttpServer, tls_context
from podwire.apiserver.http.upgrade import Upgrader
from podwire.apiserver.own import Own
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.apiserver.traces import Tracer
from podwire.client.api import Client
from podwire.client.counters import ANONYMOUS, KUBELET_ENDPOINT, User
from podwire.client.framed.api import serve_api
from podwire.client.framed.fabric import FramedFabric
from podwire.client.framed.kubelets import FramedKubelets
from podwire.client.framed.methods import Table
from podwire.client.framed.session import Session
from podwire.client.framed.sockets import FramedSockets
from podwire.client.identity import ROOMS, room_user
from podwire.client.informer import Informers
from podwire.runtime.usage import process_usage
from podwire.sim import certs, outside, serving, whatif
from podwire.sim.readiness import wait_until_up
from podwire.sim.rooms.machines import FramedMachines
from podwire.sim.rooms.process import RoomProcess, listens
from podwire.sim.settings import APISERVER
from podwire.store import Store, UnavailableError

ROOM = "apiserver"
PEERS = ("fabric",)
CALLERS = tuple(room for room in ROOMS if room != ROOM)


class ApiserverRoom:
    """The composition of one API server process."""

    def __init__(self, room: RoomProcess, store: Store) -> None:
        env, options = room.env, room.options
        self._room = room
        self._settings = options.settings
        self._link = room.link("fabric")
        fabric = FramedFabric(self._link)
        self._kubelets = FramedKubelets(self._kubelet_endpoint, partial(room.new_link, "kubelet"))
        self._store = store
        settings = room.options.settings
        served = Config(
            service_cidr=settings.service_cidrs,
            advertise_address=settings.control_plane_address,
            authorization_mode=settings.authorization_mode,
            **serving.admission(settings),
        )
        self.server = Apiserver(env, store, config=served, kubelets=self._kubelets)
        self.server.metrics.process = process_usage
        self.client = Client(DirectApi(self.server, APISERVER))
        self._renewals = components.Renewals(env.clock)
        began_ns = env.clock.monotonic_ns()
        tracer = Tracer(
            self.client, fabric, self._kubelets, whatif.compiler(self._settings),
            lambda: (env.clock.monotonic_ns() - began_ns) / 1e9,
        )  # fmt: skip
        own = Own(
            tracer,
            fabric,
            lambda: options.shown_api,
            self._components,
            self._wait_ready,
            FramedMachines(self._link, self._kubelets),
        )
        trusted = room.identity.ca_file.read_bytes()
        trusted += certs.pair(options.pki, certs.SIGNER).certificate
        self._front_proxy = certs.front_proxy(options.pki, trusted)
        serving.equip(self.server, own, certs.issuer(options.pki), self._front_proxy)
        self._end_audit = serving.audit(self.server, settings)

    def _kubelet_endpoint(self, node: str) -> str:
        entry = self.server.caches.of(kinds.NODE).get("", node)
        return "" if entry is None else entry.view.metadata.annotations.get(KUBELET_ENDPOINT, "")

    async def _components(self) -> dict[str, object]:
        etcd = components.Component("etcd", components.READY)
        try:
            await self._store.check()
        except UnavailableError as error:
            etcd = components.Component("etcd", components.FAILED, str(error))
        own = [
            etcd,
            components.Component("apiserver", components.READY),
        ]
        return await components.listing(self.client, self._renewals, own, self._expected())

    def _expected(self) -> list[str]:
        """The rooms that belong to this cluster, whether or not they ever came."""
        absent = {"ingress": None} if self._settings.ingress == "none" else {}
        return [room for room in ROOMS if room not in absent]

    async def _wait_ready(self) -> None:
        ctx = self._room.ctx("readiness", api=self.client.api)
        await wait_until_up(self._settings, self.client, ctx)

    async def start(self) -> None:
        """Load the store, make the addons' objects, listen."""
        room, options = self._room, self._room.options
        await self.server.start()
        await serving.create_addons(self.server, self.client, self._settings)
        self._http = self._https()
        host, _, port = options.secure.rpartition(":")
        with listens("--secure-listen", options.secure):
            await self._http.start(host.strip("[]"), int(port), listening=options.secure_socket)
        api = DirectApi(self.server, room_user(ROOM))

        def serve(session: Session) -> Table:
            table = Table()
            serve_api(table, DirectApi(self.server, ANONYMOUS), session)
            return table

        await room.serve(CALLERS, serve)
        room.hold_lease(api)
        informers = Informers(self.client, room.ctx("leases", api=self.client.api))
        informers.informer(kinds.LEASE).on_change(self._renewals.observe)
        room.nursery.start(informers.run(), name="leases")
        room.nursery.start(self._control_plane(), name="control plane")

    def _https(self) -> HttpServer:
        options, server = self._room.options, self.server
        token = certs.token(options.pki)
        certs.pair(options.pki, certs.SERVING)  # says what to do when it is not there
        groups = ("system:masters", "system:authenticated")
        tls = tls_context(
            str(options.pki / f"{certs.SERVING}.crt"), str(options.pki / f"{certs.SERVING}.key"),
            self._front_proxy.client_ca + self._front_proxy.ca,
        )  # fmt: skip
        server.authenticator.know({token: User("podwire-admin", groups)})
        return HttpServer(
            DirectApi(server, APISERVER), server.authenticator, Upgrader(server), tls,
            replace(self._room.env, log=self._room.log),
        )  # fmt: skip

    async def _control_plane(self) -> None:
        """Answer at the modelled address as long as there is a fabric with that machine."""
        sockets = FramedSockets(self._link)

        async def answer() -> None:
            listener = await outside.reopen_control_plane(sockets, self._room.env.clock)
            await outside.serve_control_plane(listener, self.server)

        await self._room.with_fabric(answer, pauses=False)

    async def stop(self) -> None:
        """End watches, stop listening, hang up."""
        self.server.stop()
        await self._http.stop()
        await self._kubelets.close()
        await self._store.close()
        self._end_audit()


async def main(room: RoomProcess) -> None:
    """Serve the API."""
    env = room.env
    options = room.options.store
    store = await open_encrypted(options, env.clock, env.trace, room.log, env.secret)
    apiserver = ApiserverRoom(room, store)
    await apiserver.start()
    room.at_end(apiserver.stop)
