"""A cluster that is killed and started again on the same data, seen by the real kubectl."""

import json
import os
import shutil
import signal
import sys

import pytest

from tests.clients.conftest import BIN, ROOT, Live
from tests.etcds import Etcd

pytestmark = pytest.mark.xdist_group("keeping")


@pytest.fixture(params=["data-dir", "etcd"])
def home(request, tmp_path):
    """A home, and where its cluster is kept."""
    cluster, member = Live(tmp_path), None
    keep = ("--data-dir", str(tmp_path / "data"))
    if request.param == "etcd":
        member = Etcd(tmp_path / "etcd").start()
        keep = ("--etcd", member.url)
    yield cluster, keep
    stop(cluster)
    if member is not None:
        member.kill()


def stop(cluster):
    """Leave nothing running, whatever the test came to."""
    if json.loads(cluster.podwire("get", "clusters", "-o", "json")):
        cluster.podwire("down")


def up(cluster, *options):
    return cluster.podwire("up", "--detach", "--wait", "--time-profile", "fast", *options)


def kill(cluster):
    (running,) = json.loads(cluster.podwire("get", "clusters", "-o", "json"))
    os.kill(running["pid"], signal.SIGKILL)


def revision(cluster):
    listed = json.loads(cluster.kubectl("get", "--raw", "/api/v1/namespaces/default/pods"))
    return int(listed["metadata"]["resourceVersion"])


def items(cluster, *argv):
    return json.loads(cluster.kubectl("get", *argv, "-o", "json"))["items"]


def test_a_killed_cluster_comes_back_with_everything(home):
    """Objects, addresses, credentials; nodes are rebooted machines and pods Ready again."""
    cluster, keep = home
    up(cluster, *keep)
    cluster.kubectl("apply", "-f", str(ROOT / "examples/article/backend.yaml"))
    cluster.kubectl("apply", "-f", str(ROOT / "examples/article/frontend.yaml"))
    cluster.kubectl("rollout", "status", "deploy/frontend", "--timeout=60s")
    cluster.kubectl("create", "configmap", "deleted")
    cluster.kubectl("delete", "configmap", "deleted")
    old = cluster.home / "old-kubeconfig"
    shutil.copy(cluster.home / "kubeconfig", old)
    services = {
        s["metadata"]["uid"]: s["spec"].get("clusterIP") for s in items(cluster, "svc", "-A")
    }
    boots = {n["metadata"]["name"]: n["status"]["nodeInfo"] for n in items(cluster, "nodes")}
    pods = {p["metadata"]["uid"] for p in items(cluster, "pods", "-A")}
    version = revision(cluster)

    kill(cluster)
    up(cluster, *keep)

    cluster.kubectl(
        "--kubeconfig", str(old), "wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s"
    )
    cluster.kubectl("exec", "deploy/frontend", "--", "curl", "-s", "http://backend/hostname")
    assert services == {
        s["metadata"]["uid"]: s["spec"].get("clusterIP") for s in items(cluster, "svc", "-A")
    }
    assert pods == {p["metadata"]["uid"] for p in items(cluster, "pods", "-A")}
    for node in items(cluster, "nodes"):
        info, before = node["status"]["nodeInfo"], boots[node["metadata"]["name"]]
        assert info["bootID"] != before["bootID"]
        assert info["machineID"] == before["machineID"]
    assert revision(cluster) > version
    assert "deleted" not in cluster.kubectl("get", "configmaps")
    taken = next(ip for ip in services.values() if ip not in {None, "None"})
    refused = cluster.run(
        str(BIN / "kubectl"), "create", "service", "clusterip", "x", "--tcp=80",
        f"--clusterip={taken}", code=1,
    )  # fmt: skip
    assert "already allocated" in refused.stderr


def test_a_cluster_that_cannot_be_kept_does_not_start_and_says_why(tmp_path):
    """One line, exit code 3, in the foreground and detached; nothing is left behind."""
    cluster = Live(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "foreign").mkdir(mode=0o700)
    (tmp_path / "foreign/store").mkdir(mode=0o700)
    (tmp_path / "foreign/store/log-00000000000000000001").write_text("not ours")
    for options, told in (
        (("--etcd", "http://127.0.0.1:1"), "http://127.0.0.1:1: nothing listens there; start etcd"),
        (("--etcd", "localhost:2379"), "use http://HOST:PORT"),
        (("--data-dir", str(tmp_path / "file/x")), "or choose another --data-dir"),
        (("--data-dir", str(tmp_path / "foreign")), "it is not a file of a podwire store"),
    ):
        for mode in ((), ("--detach",)):
            done = cluster.run(sys.executable, "-m", "podwire", "up", *mode, *options, code=3)
            (line,) = done.stderr.strip().splitlines()
            assert line.startswith("error: ")
            assert told in line
    assert cluster.podwire("get", "clusters", "-o", "json").strip() == "[]"
    usage = cluster.run(sys.executable, "-m", "podwire", "up", "--etcd", ",", code=2)
    assert "--etcd: name a URL such as http://127.0.0.1:2379" in usage.stderr


def test_a_directory_belongs_to_one_cluster(tmp_path):
    """In use, of another name, or with a part of its identity lost: told apart."""
    cluster = Live(tmp_path)
    keep = ("--data-dir", str(tmp_path / "data"))
    up(cluster, *keep)
    again = ("up", "--detach", *keep)
    run = (sys.executable, "-m", "podwire")
    assert "is in use by process" in cluster.run(*run, *again, "--name", "b", code=3).stderr
    cluster.podwire("down")
    assert 'holds the cluster "podwire"; use --name podwire' in (
        cluster.run(*run, *again, "--name", "b", code=3).stderr
    )
    assert "made with --cni flannel" in cluster.run(*run, *again, "--cni", "calico", code=3).stderr
    for path in (tmp_path / "data").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    (tmp_path / "data/pki/ca.key").unlink()
    assert "pki/ca.key is missing; restore it" in cluster.run(*run, *again, code=3).stderr
