"""The CNI counter: executes a plugin "binary" of a node, environment and stdin in, JSON out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from podwire.api.view import JSON
from podwire.client.counters import CniOutput, Fabric
from podwire.cni import spec
from podwire.cni.call import Call, Plugin, World
from podwire.cni.plugins import bridge, calico, flannel, host_local, loopback, portmap
from podwire.cni.spec import CniError
from podwire.dataplane.commands import CommandError
from podwire.runtime.ports import Rng

# What each verb needs from the environment (spec section 2, "Parameters").
_REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
    "VERSION": (),
}

PLUGINS: dict[str, Plugin] = {
    "loopback": loopback.Loopback(),
    "host-local": host_local.HostLocal(),
    "bridge": bridge.Bridge(),
    "flannel": flannel.Flannel(),
    "portmap": portmap.Portmap(),
    "calico": calico.Calico(),
}
"""The content of /opt/cni/bin on every node."""


class CniPlugins:
    """Counter 4 over the fabric. All state lies on the nodes' kernels and disks."""

    def __init__(self, fabric: Fabric, rng: Rng) -> None:
        self._world = World(fabric, rng.child("cni"))

    async def execute(
        self, node: str, plugin: str, env: Mapping[str, str], stdin: bytes
    ) -> CniOutput:
        """Run a plugin; failures are error documents with exit code 1, never exceptions."""
        version = spec.CURRENT
        try:
            verb = _verb(env)
            conf = _decode(stdin) if stdin or verb != "VERSION" else {}
            if verb == "VERSION":
                return _output(spec.version_document(str(conf.get("cniVersion") or "")))
            call = self._call(node, plugin, verb, env, conf)
            version = call.version
            result = await run_plugin(call)
            return _output(spec.result_as(version, result)) if result is not None else _output(None)
        except CniError as error:
            return _output(error.document(version), 1)
        except CommandError as error:
            return _output(CniError(spec.INTERNAL, str(error)).document(version), 1)

    async def available(self) -> None:
        """See ``counters.Cni``."""

    def _call(self, node: str, plugin: str, verb: str, env: Mapping[str, str], conf: JSON) -> Call:
        _require(env, _REQUIRED[verb])
        path = env["CNI_PATH"]
        if plugin not in PLUGINS:
            raise CniError(spec.INTERNAL, f'failed to find plugin "{plugin}" in path [{path}]')
        call = Call(
            verb=verb,
            node=node,
            plugin=plugin,
            container_id=env.get("CNI_CONTAINERID", ""),
            netns_path=env.get("CNI_NETNS", ""),
            ifname=env.get("CNI_IFNAME", ""),
            conf=conf,
            world=self._world,
            args=env.get("CNI_ARGS", ""),
        )
        if "CNI_CONTAINERID" in _REQUIRED[verb]:
            spec.check_container_id(call.container_id)
            spec.check_ifname(call.ifname)
        spec.check_network_name(call.network)
        spec.check_version(call.version, verb)
        return call


async def run_plugin(call: Call) -> JSON | None:
    """Perform a call: the result of ADD in 1.1.0 form, None for the verbs that print nothing."""
    plugin = PLUGINS.get(call.plugin)
    if plugin is None:
        raise CniError(spec.INTERNAL, f'failed to find plugin "{call.plugin}" in path')
    if call.verb == "ADD":
        return await plugin.add(call)
    verbs = {
        "DEL": plugin.delete,
        "CHECK": plugin.check,
        "GC": plugin.collect,
        "STATUS": plugin.status,
    }
    await verbs[call.verb](call)
    return None


def _verb(env: Mapping[str, str]) -> str:
    _require(env, ("CNI_COMMAND",))
    verb = env["CNI_COMMAND"]
    if verb not in spec.VERBS:
        raise CniError(spec.INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {verb}")
    return verb


def _require(env: Mapping[str, str], names: tuple[str, ...]) -> None:
    missing = [name for name in names if not env.get(name)]
    if missing:
        raise CniError(
            spec.INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing"
        )


def _decode(stdin: bytes) -> JSON:
    try:
        conf = msgspec.json.decode(stdin)
    except msgspec.DecodeError as error:
        raise CniError(
            spec.DECODING_FAILURE, "error unmarshall network config", str(error)
        ) from None
    if not isinstance(conf, dict):
        raise CniError(spec.DECODING_FAILURE, "error unmarshall network config", "not an object")
    return conf


def _output(document: JSON | None, code: int = 0) -> CniOutput:
    return CniOutput(b"" if document is None else msgspec.json.encode(document), code)
