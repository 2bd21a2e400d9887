"""A pod's resolv.conf and hosts file by dnsPolicy, dnsConfig and hostAliases. Pure.

Source: documentation "DNS for Services and Pods", observable behaviour of pkg/kubelet/network/dns
and of the managed hosts file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from podwire.api.views import DNSConfig, HostAlias, Pod

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_CHARS = 2048
MAX_HOSTNAME_CHARS = 64


class DnsError(ValueError):
    """What the pod wants cannot be made; the message is upstream's."""


@dataclass(slots=True)
class ResolvConf:
    """The three things a resolv.conf says. ``options``: name -> value or ''."""

    nameservers: list[str] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def render(self) -> str:
        """The file's text."""
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {address}" for address in self.nameservers]
        if self.options:
            words = [f"{n}:{v}" if v else n for n, v in self.options.items()]
            lines.append(f"options {' '.join(words)}")
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> ResolvConf:
    """A resolv.conf file; later ``search`` lines replace earlier ones."""
    conf = ResolvConf()
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        match words[:1]:
            case ["nameserver"] if len(words) > 1:
                conf.nameservers.append(words[1])
            case ["search"]:
                conf.searches = ["." if w == "." else w.rstrip(".") for w in words[1:]]
            case ["options"]:
                for word in words[1:]:
                    name, _, value = word.partition(":")
                    conf.options[name] = value
    return conf


def pod_resolv_conf(
    pod: Pod, host: ResolvConf, cluster_dns: Sequence[str], cluster_domain: str
) -> tuple[ResolvConf, list[tuple[str, str]]]:
    """The pod's resolver configuration and the (reason, message) of warnings about it."""
    policy, warnings = pod.spec.dns_policy or "ClusterFirst", []
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    if policy == "ClusterFirstWithHostNet":
        policy = "ClusterFirst"
    if policy == "ClusterFirst" and not cluster_dns:
        message = (
            "kubelet does not have ClusterDNS IP configured and cannot create Pod using "
            '"ClusterFirst" policy. Falling back to "Default" policy.'
        )
        warnings.append(("MissingClusterDNS", message))
        policy = "Default"
    if policy == "None":
        conf = ResolvConf()
    elif policy == "Default":
        conf = ResolvConf(list(host.nameservers), list(host.searches), dict(host.options))
    else:
        namespace = pod.metadata.namespace
        cluster = [f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain]
        conf = ResolvConf(list(cluster_dns), _unique(cluster + host.searches), {"ndots": "5"})
    if pod.spec.dns_config is not None:
        _append(conf, pod.spec.dns_config)
    return conf, warnings + _limit(conf)


def _unique(items: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _append(conf: ResolvConf, extra: DNSConfig) -> None:
    conf.nameservers = _unique([*conf.nameservers, *extra.nameservers])
    conf.searches = _unique([*conf.searches, *extra.searches])
    for option in extra.options:
        conf.options[option.name] = option.value or ""


def _limit(conf: ResolvConf) -> list[tuple[str, str]]:
    warnings = []
    if len(conf.nameservers) > MAX_NAMESERVERS:
        del conf.nameservers[MAX_NAMESERVERS:]
        message = (
            "Nameserver limits were exceeded, some nameservers have been omitted, the "
            f"applied nameserver line is: {' '.join(conf.nameservers)}"
        )
        warnings.append(("DNSConfigForming", message))
    kept = conf.searches[:MAX_SEARCHES]
    while len(" ".join(kept)) > MAX_SEARCH_CHARS:
        kept.pop()
    if kept != conf.searches:
        conf.searches = kept
        message = (
            "Search Line limits were exceeded, some search paths have been omitted, the "
            f"applied search line is: {' '.join(kept)}"
        )
        warnings.append(("DNSConfigForming", message))
    return warnings


def hostname(pod: Pod, node: str, cluster_domain: str) -> str:
    """What ``hostname`` says in the pod: its short name, or the FQDN where the spec wants it.

    Raises DnsError for an FQDN that the kernel's field does not hold.
    """
    if pod.spec.host_network:
        return node
    fqdn = subdomain_fqdn(pod, cluster_domain) if pod.spec.set_hostname_as_fqdn else ""
    if len(fqdn) > MAX_HOSTNAME_CHARS:
        raise DnsError(
            f"Failed to construct FQDN from Pod hostname and cluster domain, FQDN {fqdn} is too "
            f"long ({MAX_HOSTNAME_CHARS} characters is the max, {len(fqdn)} characters requested)"
        )
    return fqdn or short_name(pod)


def short_name(pod: Pod) -> str:
    """spec.hostname, else the pod's name cut to 63 characters."""
    return pod.spec.hostname or pod.metadata.name[:63].rstrip("-.")


def subdomain_fqdn(pod: Pod, cluster_domain: str) -> str:
    """``host.subdomain.namespace.svc.domain``, or '' for a pod without subdomain."""
    if not pod.spec.subdomain:
        return ""
    name = short_name(pod)
    return f"{name}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"


_MANAGED = (
    "# Kubernetes-managed hosts file.\n"
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)


def hosts_file(pod: Pod, pod_ips: Sequence[str], cluster_domain: str, node_hosts: str) -> str:
    """The pod's /etc/hosts."""
    if pod.spec.host_network:
        text = f"# Kubernetes-managed hosts file (host network).\n{node_hosts}"
    else:
        name = short_name(pod)
        fqdn = subdomain_fqdn(pod, cluster_domain)
        names = f"{fqdn}\t{name}" if fqdn else name
        text = _MANAGED + "".join(f"{ip}\t{names}\n" for ip in pod_ips)
    return text + _aliases(pod.spec.host_aliases)


def _aliases(aliases: Sequence[HostAlias]) -> str:
    if not aliases:
        return ""
    lines = [f"{alias.ip}\t" + "\t".join(alias.hostnames) for alias in aliases]
    return "\n# Entries added by HostAliases.\n" + "".join(f"{line}\n" for line in lines)
