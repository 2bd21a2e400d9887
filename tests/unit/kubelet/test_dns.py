"""The resolv.conf and hosts file that a pod finds."""

from podwire.api.views import (
    DNSConfig,
    DNSConfigOption,
    HostAlias,
    ObjectMeta,
    Pod,
    PodSpec,
)
from podwire.kubelet.dns import ResolvConf, hosts_file, parse, pod_resolv_conf

HOST = "search corp.example\nnameserver 192.168.0.1\n"


def resolv(spec: PodSpec, host: str = HOST, dns: tuple[str, ...] = ("10.96.0.10",)):
    pod = Pod(metadata=ObjectMeta(name="p", namespace="default"), spec=spec)
    conf, warnings = pod_resolv_conf(pod, parse(host), dns, "cluster.local")
    return conf.render(), warnings


def test_cluster_first_is_the_three_lines_everybody_knows():
    """The node here has no search list of its own."""
    text, warnings = resolv(PodSpec(), host="nameserver 192.168.0.1\n")
    assert text == (
        "search default.svc.cluster.local svc.cluster.local cluster.local\n"
        "nameserver 10.96.0.10\n"
        "options ndots:5\n"
    )
    assert warnings == []


def test_the_search_list_of_the_node_is_appended():
    """As on EC2, where the VPC's domain becomes the fourth search domain."""
    text, _ = resolv(PodSpec())
    assert text.splitlines()[0].endswith("cluster.local corp.example")


def test_host_network_with_cluster_first_means_default_unless_told_with_host_net():
    """Documentation "Pod's DNS Policy"."""
    assert resolv(PodSpec(host_network=True))[0] == HOST
    cluster = PodSpec(host_network=True, dns_policy="ClusterFirstWithHostNet")
    assert "nameserver 10.96.0.10" in resolv(cluster)[0]


def test_policy_none_is_dns_config_alone_and_options_override_by_name():
    """ndots:2 in dnsConfig is the classic cure for eight packets per lookup."""
    config = DNSConfig(
        nameservers=["1.2.3.4"],
        searches=["x.example"],
        options=[DNSConfigOption(name="ndots", value="2"), DNSConfigOption(name="edns0")],
    )
    text, _ = resolv(PodSpec(dns_policy="None", dns_config=config))
    assert text == "search x.example\nnameserver 1.2.3.4\noptions ndots:2 edns0\n"
    text, _ = resolv(PodSpec(dns_config=config))
    assert text.splitlines()[1:] == [
        "nameserver 10.96.0.10",
        "nameserver 1.2.3.4",
        "options ndots:2 edns0",
    ]


def test_more_than_three_nameservers_are_cut_and_said_so():
    """Event DNSConfigForming."""
    config = DNSConfig(nameservers=["1.1.1.1", "2.2.2.2", "3.3.3.3"])
    text, warnings = resolv(PodSpec(dns_config=config))
    assert text.count("nameserver") == 3
    message = (
        "Nameserver limits were exceeded, some nameservers have been omitted, "
        "the applied nameserver line is: 10.96.0.10 1.1.1.1 2.2.2.2"
    )
    assert warnings == [("DNSConfigForming", message)]


def test_a_kubelet_without_cluster_dns_falls_back_to_the_node_and_warns():
    """Event MissingClusterDNS."""
    text, warnings = resolv(PodSpec(), dns=())
    assert text == HOST
    assert [reason for reason, _ in warnings] == ["MissingClusterDNS"]


def test_a_resolv_conf_survives_reading_and_writing():
    """Comments vanish; values without a colon stay flags."""
    conf = parse("# node\nsearch a b\nnameserver 9.9.9.9\noptions rotate timeout:1\n")
    assert conf == ResolvConf(["9.9.9.9"], ["a", "b"], {"rotate": "", "timeout": "1"})


def test_the_hosts_file_knows_the_pod_its_subdomain_and_its_aliases():
    """conformance: "should provide /etc/hosts entries for the cluster"."""
    pod = Pod(
        metadata=ObjectMeta(name="web-0", namespace="shop"),
        spec=PodSpec(
            hostname="web-0",
            subdomain="web",
            host_aliases=[HostAlias(ip="1.2.3.4", hostnames=["foo", "bar"])],
        ),
    )
    text = hosts_file(pod, ("10.244.1.5",), "cluster.local", "")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.244.1.5\tweb-0.web.shop.svc.cluster.local\tweb-0\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n")
