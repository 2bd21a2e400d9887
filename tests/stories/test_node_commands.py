"""podwire node exec: what ``ssh NODE COMMAND`` is in life."""

import msgspec

from podwire.api import kinds

SHOP = """
apiVersion: v1
kind: Pod
metadata: {name: shop}
spec:
  nodeName: node-1
  containers: [{name: c, image: busybox, command: [sh, -c, "echo hi; sleep 600"]}]
"""
PATH = "/apis/podwire.dev/v1alpha1/nodes/{}/exec"


def ask(cluster, *argv, node="node-1", stdin=""):
    """Standard output and exit code."""
    body = {"argv": list(argv), "stdin": stdin}
    send = cluster.cluster.client.send
    answer = msgspec.json.decode(cluster.run(send("POST", PATH.format(node), body=body)).body)
    return answer["stdout"] + answer["stderr"], answer["code"]


def test_a_node_has_a_shell_and_the_tools_of_its_kernel(cluster):
    """Pipes, files of its disk, its own resolver, the cluster's addresses."""
    cluster.converge()
    assert ask(cluster, "sh", "-c", "iptables-save | grep -c 'kube-dns:dns-tcp'")[1] == 0
    assert ask(cluster, "hostname") == ("node-1\n", 0)
    assert "nameserver 192.168.0.1" in ask(cluster, "cat", "/etc/resolv.conf")[0]
    ask(cluster, "sh", "-c", "echo hi > /root/x")
    assert ask(cluster, "cat", "/root/x") == ("hi\n", 0)
    assert ask(cluster, "cat", "/root/x", node="node-2")[1] == 1
    assert ask(cluster, "rm", "/root/x") == ("", 0)
    assert ask(cluster, "cat", "/root/x")[1] == 1
    assert ask(cluster, "cat", stdin="given") == ("given", 0)
    found, code = ask(
        cluster, "dig", "+short", "@10.96.0.10", "kubernetes.default.svc.cluster.local"
    )
    assert (found, code) == ("10.96.0.1\n", 0)
    assert ask(cluster, "frobnicate") == ("frobnicate: not modelled\n", 127)


def test_a_node_asks_its_container_runtime(cluster):
    """crictl's tables, logs, commands in containers, refusals; nsenter and journalctl beside it."""
    cluster.apply(SHOP)
    cluster.converge()
    cluster.sleep(70)
    text, _ = ask(cluster, "crictl", "ps", "--name", "^c$")
    header, row = text.splitlines()
    assert header == (
        "CONTAINER           IMAGE               CREATED              STATE               "
        "NAME                ATTEMPT             POD ID              POD                 NAMESPACE"
    )
    container, pod = row.split()[0], row.split()[9]
    assert row[40:] == (
        f"About a minute ago   Running             c                   0                   {pod}"
        "       shop                default"
    )
    text, _ = ask(cluster, "crictl", "pods", "--name", "shop")
    assert text.splitlines()[1].split()[5:] == ["Ready", "shop", "default", "0", "(default)"]
    assert ask(cluster, "crictl", "logs", container) == ("hi\n", 0)
    assert ask(cluster, "crictl", "exec", container, "hostname") == ("shop\n", 0)
    told, code = ask(cluster, "crictl", "exec", container, "false")
    assert (code, "exit code 1" in told) == (1, True)
    status = msgspec.json.decode(ask(cluster, "crictl", "inspect", container)[0])
    assert status["status"]["state"] == "CONTAINER_RUNNING"
    pid, address = str(status["info"]["pid"]), cluster.get(kinds.POD, "shop").status.pod_ip
    for argv in (("nsenter", "-t", pid, "-n"), ("ip", "netns", "exec", netns_of(cluster, address))):
        assert address in ask(cluster, *argv, "ip", "addr", "show", "eth0")[0]
        assert ask(cluster, *argv, "curl", "-sk", "https://10.96.0.1/healthz")[0] == "ok"
    assert "docker.io/library/busybox" in ask(cluster, "crictl", "images")[0]
    assert "not modelled: rmi" in ask(cluster, "crictl", "rmi", "busybox")[0]
    assert "code = NotFound" in ask(cluster, "crictl", "inspect", "0123")[0]
    line = ask(cluster, "sh", "-c", "journalctl -u kubelet | grep default/shop | tail -1")[0]
    assert '"SyncLoop (PLEG): event for pod" pod="default/shop" event={"ID":' in line
    assert ask(cluster, "journalctl", "--since", "-5s")[0] == "-- No entries --\n"
    assert ask(cluster, "free", "-m")[0].split()[6:8] == ["Mem:", "8192"]


def netns_of(cluster, address):
    """The name of the network namespace that has an address."""
    for name in ask(cluster, "ip", "netns")[0].split():
        if name.startswith("cni-") and address in ask(cluster, "ip", "-n", name, "addr")[0]:
            return name
    raise AssertionError(address)


def test_a_command_that_does_not_end_is_killed(cluster):
    """Nobody could interrupt it."""
    assert ask(cluster, "sleep", "infinity") == ("podwire: killed after 25 s on node-1\n", 137)


def test_a_node_whose_kubelet_is_down_still_has_its_kernel(cluster):
    """It is hardware."""
    cluster.run(cluster.cluster.stop_room("kubelet/node-1"))
    assert "default via 192.168.0.1" in ask(cluster, "ip", "route")[0]
    assert ask(cluster, "curl", "10.96.0.1")[1] == 127
