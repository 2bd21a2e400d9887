"""The container network of a node: which conflist is in force, sandboxes and CNI calls.

Behaviour of containerd's CRI plugin over libcni: the first file by name of /etc/cni/net.d counts,
plugins run in order with chained results, DEL runs them in reverse with the cached result.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

import msgspec

from podwire.api.view import JSON
from podwire.api.views import Pod
from podwire.client.counters import Cni, CniOutput, Fabric
from podwire.dataplane.commands import CommandError, NetnsAdd, NetnsDel
from podwire.runtime.tasks import Event

CONF_DIR = "/etc/cni/net.d/"
RESULTS_DIR = "/var/lib/cni/results/"
NETNS_DIR = "/var/run/netns/"
BIN_DIR = "/opt/cni/bin"
IFNAME = "eth0"
_TRY_AGAIN = 11
_DEL_TRIES = 5
_ENDINGS = (".conflist", ".conf", ".json")


class SandboxError(Exception):
    """The sandbox could not be set up; the message is the runtime's."""


class NodeNetwork:
    """The network configuration that CNI installed on this node, watched."""

    def __init__(self, fabric: Fabric, node: str) -> None:
        self._fabric = fabric
        self._node = node
        self._files: dict[str, JSON] = {}
        self.ready = Event()
        self.on_change: Callable[[], None] = lambda: None
        """Called when readiness changed."""

    @property
    def conflist(self) -> JSON | None:
        """The configuration in force: the first file by name."""
        return self._files[min(self._files)] if self._files else None

    async def watch(self) -> None:
        """Follow the configuration directory until cancelled."""
        async for path in self._fabric.watch_files(self._node, CONF_DIR):
            if path.endswith(_ENDINGS):
                await self._load(path)

    async def _load(self, path: str) -> None:
        was = self.ready.is_set()
        conf = await self._decode(path)
        if conf is None:
            self._files.pop(path, None)
        else:
            self._files[path] = conf
        if self._files:
            self.ready.set()
        else:
            self.ready.clear()
        if was != self.ready.is_set():
            self.on_change()

    async def _decode(self, path: str) -> JSON | None:
        try:
            conf = msgspec.json.decode(await self._fabric.read_file(self._node, path))
        except (FileNotFoundError, msgspec.DecodeError):
            return None  # removed, or half written: as libcni, skip it
        if not isinstance(conf, dict) or not conf.get("name"):
            return None
        if "plugins" in conf:
            return conf
        return {"cniVersion": conf.get("cniVersion", ""), "name": conf["name"], "plugins": [conf]}


class Sandbox:
    """The network namespace of one pod and its attachment. "" netns: the node's own."""

    def __init__(self, fabric: Fabric, cni: Cni, node: str, id: str, netns: str) -> None:
        self._fabric = fabric
        self._cni = cni
        self._node = node
        self.id = id
        self.netns = netns
        self.ips: tuple[str, ...] = ()
        self._attached: bytes | None = None
        """What the result cache holds: configuration, arguments, capabilities, result. Read again
        at the end only: a file's bytes weigh a third of what is made of them.
        """

    async def set_up(self, pod: Pod, conflist: JSON) -> None:
        """Create the namespace and attach it. Raises SandboxError; ``tear_down`` undoes all."""
        try:
            await self._fabric.execute(self._node, [NetnsAdd(name=self.netns)])
        except CommandError as error:
            raise SandboxError(f"failed to create network namespace: {error}") from error
        attached: JSON = {
            "kind": "cniCacheV1",
            "containerId": self.id,
            "config": base64.b64encode(msgspec.json.encode(conflist)).decode(),
            "ifName": IFNAME,
            "networkName": conflist["name"],
            "netns": NETNS_DIR + self.netns,
            "cniArgs": cni_args(pod, self.id),
            "capabilityArgs": {"portMappings": port_mappings(pod)},
        }
        # Written before the plugins run too: a kubelet that dies among them leaves what its
        # successor must undo.
        await self._cache(attached)
        result: JSON | None = None
        for plugin in conflist["plugins"]:
            result = await self._add(plugin, conflist, attached, result)
        attached["result"] = result
        addresses = (ip["address"] for ip in (result or {}).get("ips", ()))
        self.ips = tuple(address.partition("/")[0] for address in addresses)
        if not self.ips:
            raise SandboxError(f'failed to find network info for sandbox "{self.id}"')
        await self._cache(attached)

    async def _cache(self, attached: JSON) -> None:
        self._attached = msgspec.json.encode(attached)
        await self._fabric.write_file(self._node, self._cache_path(attached), self._attached)

    async def _add(
        self, plugin: JSON, conflist: JSON, attached: JSON, previous: JSON | None
    ) -> JSON:
        output = await self._call("ADD", plugin, conflist, attached, previous)
        message = _error_message(output.stdout) if output.code else ""
        if not output.code:
            try:
                result: JSON = msgspec.json.decode(output.stdout)
            except msgspec.DecodeError as error:
                message = f"error unmarshaling result: {error}"
            else:
                return result
        raise SandboxError(
            f'failed to setup network for sandbox "{self.id}": '
            f'plugin type="{plugin.get("type")}" failed (add): {message}'
        )

    async def _call(
        self, verb: str, plugin: JSON, conflist: JSON, attached: JSON, previous: JSON | None
    ) -> CniOutput:
        capabilities = plugin.get("capabilities") or {}
        runtime = {k: v for k, v in attached["capabilityArgs"].items() if capabilities.get(k)}
        stdin: JSON = {
            **{k: v for k, v in plugin.items() if k != "capabilities"},
            "cniVersion": conflist.get("cniVersion", ""),
            "name": conflist["name"],
        }
        if runtime:
            stdin["runtimeConfig"] = runtime
        if previous is not None:
            stdin["prevResult"] = previous
        env: Mapping[str, str] = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.id,
            "CNI_NETNS": attached["netns"],
            "CNI_IFNAME": IFNAME,
            "CNI_ARGS": attached["cniArgs"],
            "CNI_PATH": BIN_DIR,
        }
        return await self._cni.execute(
            self._node, str(plugin.get("type", "")), env, msgspec.json.encode(stdin)
        )

    async def tear_down(self) -> list[str]:
        """Detach and remove the namespace; the failures that were met (teardown goes on)."""
        failures: list[str] = []
        if self._attached is not None:
            attached = msgspec.json.decode(self._attached)
            conflist = msgspec.json.decode(base64.b64decode(attached["config"]))
            for plugin in reversed(conflist["plugins"]):
                output = await self._detach(plugin, conflist, attached)
                if output.code:
                    message = _error_message(output.stdout)
                    failures.append(
                        f'plugin type="{plugin.get("type")}" failed (delete): {message}'
                    )
            await self._fabric.remove_file(self._node, self._cache_path(attached))
            self._attached = None
        if self.netns:
            try:
                await self._fabric.execute(self._node, [NetnsDel(name=self.netns)])
            except CommandError as error:
                # Gone already (a set-up that failed early); the kernel's words are kept.
                failures.append(str(error))
        return failures

    async def _detach(self, plugin: JSON, conflist: JSON, attached: JSON) -> CniOutput:
        """DEL, which may be repeated: again when the plugin was interrupted (code 11 of the CNI
        specification), because what it leaves behind nobody else would undo.
        """
        for _ in range(_DEL_TRIES):
            output = await self._call("DEL", plugin, conflist, attached, attached.get("result"))
            error = _error_document(output.stdout) if output.code else None
            if error is None or error.get("code") != _TRY_AGAIN:
                break
            await self._cni.available()
        return output

    def _cache_path(self, attached: JSON) -> str:
        return f"{RESULTS_DIR}{attached['networkName']}-{self.id}-{IFNAME}"

    @classmethod
    def from_cache(cls, fabric: Fabric, cni: Cni, node: str, cached: bytes) -> Sandbox:
        """A sandbox that an earlier kubelet left behind, as the result cache tells."""
        told = msgspec.json.decode(cached)
        netns = told["netns"].removeprefix(NETNS_DIR)
        sandbox = cls(fabric, cni, node, told["containerId"], netns)
        sandbox._attached = cached
        return sandbox


def cni_args(pod: Pod, sandbox_id: str) -> str:
    """CNI_ARGS as container runtimes pass them for pods."""
    meta = pod.metadata
    return (
        f"K8S_POD_INFRA_CONTAINER_ID={sandbox_id};K8S_POD_UID={meta.uid};IgnoreUnknown=1;"
        f"K8S_POD_NAMESPACE={meta.namespace};K8S_POD_NAME={meta.name}"
    )


def port_mappings(pod: Pod) -> list[JSON]:
    """The pod's hostPorts as the portMappings capability wants them."""
    return [
        {
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": port.protocol.lower(),
            "hostIP": port.host_ip,
        }
        for container in pod.spec.containers
        for port in container.ports
        if port.host_port
    ]


def _error_document(stdout: bytes) -> JSON | None:
    try:
        error = msgspec.json.decode(stdout)
    except msgspec.DecodeError:
        return None
    return error if isinstance(error, dict) else None


def _error_message(stdout: bytes) -> str:
    error = _error_document(stdout)
    if error is None:
        return f"netplugin failed with no error message: {stdout.decode(errors='replace')}"
    details = f"; {error['details']}" if error.get("details") else ""
    return f"{error.get('msg', '')}{details}"


async def collect_garbage(fabric: Fabric, cni: Cni, node: str) -> int:
    """Undo the attachments of sandboxes that no kubelet holds any more; how many there were."""
    found = await fabric.list_files(node, RESULTS_DIR)
    paths = [path for path in found if not path.endswith("/")]
    for path in paths:
        cached = await fabric.read_file(node, path)
        await Sandbox.from_cache(fabric, cni, node, cached).tear_down()
    return len(paths)
