"""bridge: a pod's veth on a bridge of its node, with the bridge as the pods' gateway.

Source: containernetworking/plugins main/bridge (options, order of steps, names).
"""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.cni.call import Call, mac_of, not_modelled
from podwire.cni.plugins.host_local import HostLocal
from podwire.cni.spec import CURRENT, INTERNAL, INVALID_CONFIG, CniError
from podwire.dataplane.commands import (
    AddrAdd,
    Command,
    CommandError,
    LinkAdd,
    LinkDel,
    LinkSet,
    RouteReplace,
    SysctlSet,
)

DEFAULT_BRIDGE = "cni0"
DEFAULT_MTU_BYTES = 1500
_UNMODELLED = ("ipMasq", "vlan", "vlanTrunk", "macspoofchk", "promiscMode", "enabledad")


class Bridge:
    """The bridge plugin; addresses come from its ``ipam`` plugin (host-local)."""

    def __init__(self) -> None:
        self._ipam = HostLocal()

    async def add(self, call: Call) -> JSON:
        """Bridge, addresses, veth pair, routes, gateway address: in that order."""
        conf = _checked(call.conf)
        bridge_mac = await _ensure_bridge(call, conf)
        ipam = await self._ipam.add(_ipam_call(call))
        rng = call.world.rng.child(f"{call.node}/{call.container_id}/{call.ifname}")
        host = f"veth{rng.bytes(4).hex()}"
        host_mac, pod_mac = mac_of(rng), mac_of(rng)
        routes = _routes(conf, ipam)
        try:
            await call.run([
                *_plug(call, conf, host, host_mac, pod_mac),
                *_address(call, ipam["ips"], routes),
            ])  # fmt: skip
            await _ensure_gateway(call, conf, ipam["ips"])
        except CommandError:
            await call.drop(LinkDel(name=host))
            await self._ipam.delete(_ipam_call(call))
            raise
        return {
            "cniVersion": CURRENT,
            "interfaces": [
                {"name": _name(conf), "mac": bridge_mac, "mtu": _mtu(conf)},
                {"name": host, "mac": host_mac, "mtu": _mtu(conf)},
                {"name": call.ifname, "mac": pod_mac, "mtu": _mtu(conf),
                 "sandbox": call.netns_path},
            ],
            "ips": [{**ip, "interface": 2} for ip in ipam["ips"]],
            "routes": routes,
            "dns": conf.get("dns") or {},
        }  # fmt: skip

    async def delete(self, call: Call) -> None:
        """Remove the pod's link (its peer goes with it) and give the address back."""
        if call.netns:
            await call.drop(LinkDel(netns=call.netns, name=call.ifname))
        if call.conf.get("ipam"):
            await self._ipam.delete(_ipam_call(call))

    async def check(self, call: Call) -> None:
        """The reservation, the link and every address of ``prevResult`` must be there."""
        await self._ipam.check(_ipam_call(call))
        previous = call.conf.get("prevResult")
        if not previous:
            raise CniError(INVALID_CONFIG, "Required prevResult missing")
        answer = await call.world.fabric.tool(
            call.node, call.netns, ("ip", "addr", "show", "dev", call.ifname)
        )
        if answer.code:
            raise CniError(INTERNAL, f"failed to look up {call.ifname}: {answer.stderr.strip()}")
        for ip in previous.get("ips") or []:
            word = "inet6" if ":" in ip["address"] else "inet"
            if f"{word} {ip['address']} " not in answer.stdout:
                raise CniError(INTERNAL, f"Expected IP {ip['address']} not found on {call.ifname}")

    async def collect(self, call: Call) -> None:
        """Addresses of forgotten containers."""
        await self._ipam.collect(_ipam_call(call))

    async def status(self, call: Call) -> None:
        """Ready when its IPAM is."""
        _checked(call.conf)
        await self._ipam.status(_ipam_call(call))


def _checked(conf: JSON) -> JSON:
    for option in _UNMODELLED:
        if conf.get(option):
            raise not_modelled(f"bridge option {option}")
    kind = (conf.get("ipam") or {}).get("type")
    if kind != "host-local":
        raise not_modelled(f'ipam plugin "{kind}"')
    return conf


def _name(conf: JSON) -> str:
    return str(conf.get("bridge") or DEFAULT_BRIDGE)


def _mtu(conf: JSON) -> int:
    return int(conf.get("mtu") or DEFAULT_MTU_BYTES)


def _is_gateway(conf: JSON) -> bool:
    return bool(conf.get("isGateway") or conf.get("isDefaultGateway"))


def _ipam_call(call: Call) -> Call:
    return call.delegate("host-local", call.conf)


async def _ensure_bridge(call: Call, conf: JSON) -> str:
    """Create the bridge unless it is there; its hardware address (fixed per node and name)."""
    name = _name(conf)
    mac = mac_of(call.world.rng.child(f"{call.node}/{name}"))
    if await call.ensure(LinkAdd(name=name, kind="bridge", mac=mac, mtu_bytes=_mtu(conf))):
        await call.run([LinkSet(name=name, up=True)])
    return mac


def _plug(call: Call, conf: JSON, host: str, host_mac: str, pod_mac: str) -> list[Command]:
    """The veth pair, one end on the bridge, the other in the pod."""
    return [
        LinkAdd(
            name=host,
            kind="veth",
            mac=host_mac,
            mtu_bytes=_mtu(conf),
            peer_name=call.ifname,
            peer_netns=call.netns,
            peer_mac=pod_mac,
        ),
        LinkSet(name=host, up=True, master=_name(conf), hairpin=bool(conf.get("hairpinMode"))),
        LinkSet(netns=call.netns, name=call.ifname, up=True),
    ]


def _address(call: Call, ips: list[JSON], routes: list[JSON]) -> list[Command]:
    commands: list[Command] = [
        AddrAdd(netns=call.netns, dev=call.ifname, cidr=ip["address"]) for ip in ips
    ]
    commands.extend(
        RouteReplace(
            netns=call.netns,
            dst="default" if route["dst"] == "0.0.0.0/0" else route["dst"],
            via=route.get("gw") or _gateway_for(route["dst"], ips),
            dev=call.ifname,
        )
        for route in routes
    )
    return commands


def _routes(conf: JSON, ipam: JSON) -> list[JSON]:
    routes: list[JSON] = list(ipam["routes"])
    there = {route["dst"] for route in routes}
    if conf.get("isDefaultGateway"):
        for ip in ipam["ips"]:
            default = "::/0" if ":" in ip["gateway"] else "0.0.0.0/0"
            if default not in there:
                there.add(default)
                routes.append({"dst": default, "gw": ip["gateway"]})
    return routes


def _gateway_for(dst: str, ips: list[JSON]) -> str:
    """The gateway of a route's own family (the first address' when there is none)."""
    fitting = [ip["gateway"] for ip in ips if (":" in ip["gateway"]) == (":" in dst)]
    return str([*fitting, ips[0]["gateway"]][0])


async def _ensure_gateway(call: Call, conf: JSON, ips: list[JSON]) -> None:
    """Give the bridge the pods' gateway address and let the node forward."""
    if not _is_gateway(conf):
        return
    for ip in ips:
        prefix = ip["address"].partition("/")[2]
        if await call.ensure(AddrAdd(dev=_name(conf), cidr=f"{ip['gateway']}/{prefix}")):
            six = ":" in ip["gateway"]
            key = "net.ipv6.conf.all.forwarding" if six else "net.ipv4.ip_forward"
            await call.run([SysctlSet(key=key, value="1")])
