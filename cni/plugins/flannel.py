"""flannel: turns what the agent wrote to subnet.env into a bridge configuration, and delegates.

Source: flannel-io/cni-plugin (delegate defaults, state below /var/lib/cni/flannel, messages).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_interface

import msgspec

from podwire.api.view import JSON
from podwire.cni.call import Call, not_modelled
from podwire.cni.plugins.bridge import Bridge
from podwire.cni.spec import INTERNAL, INVALID_CONFIG, NOT_AVAILABLE, CniError

SUBNET_FILE = "/run/flannel/subnet.env"
STATE_DIR = "/var/lib/cni/flannel"
_REQUIRED = ("FLANNEL_MTU", "FLANNEL_IPMASQ")
_OF_A_FAMILY = ("FLANNEL_NETWORK", "FLANNEL_SUBNET")


def parse_subnet_env(text: str) -> dict[str, str]:
    """The variables of subnet.env. Raises CniError naming what is missing."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    six = all(found.get(name.replace("_", "_IPV6_")) for name in _OF_A_FAMILY)
    wanted = _REQUIRED if six else (*_OF_A_FAMILY, *_REQUIRED)
    missing = [name for name in wanted if not found.get(name)]
    if missing:
        raise CniError(INTERNAL, f"{SUBNET_FILE} is missing {', '.join(missing)}")
    return found


def delegate_conf(conf: JSON, env: dict[str, str]) -> JSON:
    """The configuration flannel hands to its delegate; what the user wrote there wins."""
    delegate: JSON = dict(conf.get("delegate") or {})
    for reserved in ("name", "ipam"):
        if reserved in delegate and not (reserved == "ipam" and isinstance(delegate["ipam"], dict)):
            raise CniError(
                INVALID_CONFIG, f"'delegate' dictionary must not have '{reserved}' field"
            )
    if delegate.setdefault("type", "bridge") != "bridge":
        raise not_modelled(f'flannel delegate "{delegate["type"]}"')
    delegate["name"] = conf["name"]
    delegate["cniVersion"] = conf["cniVersion"]
    delegate.setdefault("ipMasq", env["FLANNEL_IPMASQ"] != "true")
    delegate.setdefault("mtu", int(env["FLANNEL_MTU"]))
    delegate.setdefault("isGateway", True)
    ranges, routes = [], []
    for infix in ("", "IPV6_"):
        if env.get(f"FLANNEL_{infix}SUBNET"):
            ranges.append([{"subnet": _network(env[f"FLANNEL_{infix}SUBNET"])}])
            networks = env.get(f"FLANNEL_{infix}NETWORK", "").split(",")
            routes += [{"dst": network} for network in networks if network]
    delegate["ipam"] = {
        **delegate.get("ipam", {}),
        "type": "host-local",
        "ranges": ranges,
        "routes": [*(delegate.get("ipam", {}).get("routes") or []), *routes],
    }
    return delegate


@lru_cache(maxsize=4096)  # a node has one
def _network(interface: str) -> str:
    return str(ip_interface(interface).network)


class Flannel:
    """The flannel plugin."""

    def __init__(self) -> None:
        self._bridge = Bridge()

    async def add(self, call: Call) -> JSON:
        """Remember the delegate's configuration on disk, then let it do the work."""
        conf = delegate_conf(call.conf, await _subnet_env(call))
        await call.world.fabric.write_file(call.node, _state_path(call), msgspec.json.encode(conf))
        return await self._bridge.add(call.delegate("bridge", conf))

    async def delete(self, call: Call) -> None:
        """Undo with the configuration that ADD used; nothing to do when there is none."""
        path = _state_path(call)
        try:
            conf = msgspec.json.decode(await call.world.fabric.read_file(call.node, path))
        except FileNotFoundError:
            return
        await self._bridge.delete(call.delegate("bridge", conf))
        await call.world.fabric.remove_file(call.node, path)

    async def check(self, call: Call) -> None:
        """Let the delegate check with the configuration that ADD used."""
        try:
            saved = await call.world.fabric.read_file(call.node, _state_path(call))
        except FileNotFoundError:
            raise CniError(
                INTERNAL, f"no delegate configuration for container {call.container_id}"
            ) from None
        conf = {**msgspec.json.decode(saved), "prevResult": call.conf.get("prevResult")}
        await self._bridge.check(call.delegate("bridge", conf))

    async def collect(self, call: Call) -> None:
        """Addresses of forgotten containers."""
        conf = delegate_conf(call.conf, await _subnet_env(call))
        key = "cni.dev/valid-attachments"
        conf[key] = call.conf.get(key) or []
        await self._bridge.collect(call.delegate("bridge", conf))

    async def status(self, call: Call) -> None:
        """Ready once the agent of this node wrote its subnet."""
        try:
            await _subnet_env(call)
        except CniError as error:
            raise CniError(NOT_AVAILABLE, error.msg) from None


def _state_path(call: Call) -> str:
    return f"{call.conf.get('dataDir') or STATE_DIR}/{call.container_id}"


async def _subnet_env(call: Call) -> dict[str, str]:
    path = str(call.conf.get("subnetFile") or SUBNET_FILE)
    try:
        text = await call.world.fabric.read_file(call.node, path)
    except FileNotFoundError:
        raise CniError(
            INTERNAL,
            f"failed to load flannel 'subnet.env' file: open {path}: no such file or directory. "
            "Check the flannel pod log for this node.",
        ) from None
    return parse_subnet_env(text.decode())
