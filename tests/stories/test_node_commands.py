"""podwire node exec: what ``ssh NODE COMMAND`` is in life."""

import msgspec

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


def test_a_command_that_does_not_end_is_killed(cluster):
    """Nobody could interrupt it."""
    assert ask(cluster, "sleep", "infinity") == ("podwire: killed after 25 s on node-1\n", 137)


def test_a_node_whose_kubelet_is_down_still_has_its_kernel(cluster):
    """It is hardware."""
    cluster.run(cluster.cluster.stop_room("kubelet/node-1"))
    assert "default via 192.168.0.1" in ask(cluster, "ip", "route")[0]
    assert ask(cluster, "curl", "10.96.0.1")[1] == 127
