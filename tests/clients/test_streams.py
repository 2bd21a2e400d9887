"""exec, attach, cp, port-forward, proxy and logs by the real kubectl, in both of its dialects.

kubectl speaks WebSocket, and SPDY where it is told to (as clients before 1.31 do).
"""

import copy
import hashlib
import http.client
import random
import re
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.terminal import terminal

KUBECTL = str(Path(sys.executable).parent / "kubectl")
MEGABYTE = random.Random(7).randbytes(1_000_000)  # noqa: S311  any bytes will do
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: tools, labels: {app: tools}}
spec:
  containers: [{name: c, image: busybox, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers: [{name: c, image: nginx, ports: [{containerPort: 80, name: http}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 8080, targetPort: http}]
"""
READER = """
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  containers:
    - name: c
      image: busybox
      stdin: true
      stdinOnce: true
      command: [sh, -c, "while read line; do echo got $line; done; echo over >&2; exit 4"]
"""
SINK = """
apiVersion: v1
kind: Pod
metadata: {name: sink}
spec:
  restartPolicy: Never
  containers:
    - {name: c, image: busybox, stdin: true, command: [sh, -c, "nc -l -p 9000 | sha256sum"]}
"""


@pytest.fixture(scope="module")
def streams(live):
    """A namespace with a pod of tools, a web server and its Service."""
    live.kubectl("create", "namespace", "streams")
    live.kubectl("apply", "-n", "streams", "-f", "-", stdin=PODS)
    live.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s", "-n", "streams")
    yield live
    live.kubectl("delete", "namespace", "streams", "--wait=false")


@pytest.fixture(params=["websocket", "spdy"])
def kube(streams, request):
    """kubectl in one dialect, in that namespace."""
    told = copy.copy(streams)
    choice = str(request.param == "websocket").lower()
    told.env = {
        **streams.env,
        "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": choice,
        "KUBECTL_PORT_FORWARD_WEBSOCKETS": choice,
    }

    def kubectl(*argv, **options):
        return told.run(KUBECTL, "-n", "streams", *argv, **options)

    kubectl.env = told.env
    return kubectl


def test_a_command_has_input_two_outputs_and_a_code(kube):
    """Half-close included: ``cat`` ends when stdin does."""
    assert kube("exec", "-i", "tools", "--", "cat", stdin="one\ntwo").stdout == "one\ntwo"
    script = "echo out; echo err >&2; exit 7"
    done = kube("exec", "tools", "--", "sh", "-c", script, code=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\ncommand terminated with exit code 7\n")
    loop = 'for i in 1 2 3; do printf "%s " $i; done; printf "%s" "$HOSTNAME"'
    assert kube("exec", "tools", "--", "sh", "-c", loop).stdout == "1 2 3 tools"
    done = kube("exec", "web", "--", "dig", code=1)
    assert 'exec: "dig": executable file not found in $PATH: unknown' in done.stderr


def test_what_cannot_be_executed_is_told_as_kubectl_users_know_it(kube):
    """No pod, no container, no running one."""
    assert 'pods "nope" not found' in kube("exec", "nope", "--", "ls", code=1).stderr
    assert "container zz is not valid" in kube("exec", "web", "-c", "zz", "--", "ls", code=1).stderr


def test_a_terminal_has_a_size_and_a_prompt(kube):
    """kubectl exec -it in a terminal of 99 columns and 33 rows."""
    argv = [KUBECTL, "-n", "streams", "exec", "-it", "tools", "--", "sh"]
    with terminal(argv, kube.env, columns=99, rows=33) as shell:
        shell.until("/ # ")
        shell.type("stty size")
        shell.until("33 99")
        shell.type("exit 5")
        assert shell.process.wait() == 5


def test_a_program_is_attached_to(kube):
    """stdin reaches it, its output comes, its end is the client's; the log has it all."""
    kube("apply", "-f", "-", stdin=READER)
    kube("wait", "--for=condition=Ready", "pod/reader", "--timeout=60s")
    done = kube("attach", "-i", "reader", stdin="a\nb\n")
    assert done.stdout == "got a\ngot b\n"
    assert "over\n" in done.stderr
    assert kube("logs", "reader").stdout == "got a\ngot b\nover\n"
    path = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"
    kube("wait", "--for=jsonpath={.status.phase}=Failed", "pod/reader", "--timeout=60s")
    assert kube("get", "pod", "reader", "-o", path).stdout == "4"
    kube("delete", "pod", "reader")


def test_a_pod_is_run_attached_and_removed(kube):
    """kubectl run -i --rm, with its exit code."""
    run = ("run", "once", "-i", "--rm", "--restart=Never", "--image=busybox", "--")
    assert "given" in kube(*run, "cat", stdin="given\n").stdout
    assert "no such thing" in kube(*run, "sh", stdin="echo no such thing\nexit 3\n", code=3).stdout
    assert "not found" in kube("get", "pod", "once", code=1).stderr


def test_files_and_folders_are_copied_both_ways(kube, tmp_path):
    """kubectl cp: equal bytes."""
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "big").write_bytes(MEGABYTE)
    (folder / "deep" / "small").write_text("x")
    kube("cp", str(folder / "big"), "tools:/root/big")
    digest = hashlib.sha256(MEGABYTE).hexdigest()
    assert kube("exec", "tools", "--", "sha256sum", "/root/big").stdout.startswith(digest)
    kube("cp", "tools:/root/big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == MEGABYTE
    kube("cp", str(folder), "tools:/root/folder")
    kube("cp", "tools:/root/folder", str(tmp_path / "again"))
    found = {p.relative_to(tmp_path / "again"): p.read_bytes()
             for p in (tmp_path / "again").rglob("*") if p.is_file()}  # fmt: skip
    assert found == {Path("big"): MEGABYTE, Path("deep/small"): b"x"}
    kube("exec", "tools", "--", "rm", "-r", "/root/folder", "/root/big")


@contextmanager
def forwarded(kube, *argv):
    """A running port-forward: its process, and the local ports in order."""
    running = subprocess.Popen(
        [KUBECTL, "-n", "streams", "port-forward", "--address=127.0.0.1", *argv],
        env=kube.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    watchdog = threading.Timer(60, running.kill)
    watchdog.start()
    try:
        ports = []
        while len(ports) < len(argv) - 1:
            line = running.stdout.readline()
            assert line, "port-forward ended"
            ports += [int(n) for n in re.findall(r"127\.0\.0\.1:(\d+) ->", line)]
        yield running, ports
    finally:
        watchdog.cancel()
        running.kill()
        running.wait()
        running.stdout.close()


def get(port, path="/"):
    """One request: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Connection": "close"})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_a_forwarded_port_carries_many_connections(kube):
    """To a pod and by a Service, eight at once, a megabyte each."""
    kube("exec", "-i", "web", "--", "dd", "of=/usr/share/nginx/html/foo.dat", "status=none",
         stdin="x" * 1_000_000)  # fmt: skip
    with forwarded(kube, "web", ":80") as (_, (port,)), ThreadPoolExecutor(8) as several:
        answers = list(several.map(lambda _: get(port, "/foo.dat"), range(8)))
    assert [(status, len(body)) for status, body in answers] == [(200, 1_000_000)] * 8
    with forwarded(kube, "svc/web", ":http") as (_, (port,)):
        assert get(port)[0] == 200


def test_a_megabyte_goes_into_a_pod(kube):
    """And ends where its sender ends."""
    kube("apply", "-f", "-", stdin=SINK)
    kube("wait", "--for=condition=Ready", "pod/sink", "--timeout=60s")
    with forwarded(kube, "sink", ":9000") as (_, (port,)):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as out:
            out.sendall(MEGABYTE)
            out.shutdown(socket.SHUT_WR)
            while out.recv(1024):
                pass
        kube("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/sink", "--timeout=60s")
    digest = hashlib.sha256(MEGABYTE).hexdigest()
    assert kube("logs", "sink").stdout.split() == [digest, "-"]
    kube("delete", "pod", "sink")


def test_a_port_on_which_nothing_listens_is_told_by_kubectl(kube):
    """The kubelet's words; kubectl then gives up."""
    with forwarded(kube, "web", ":81") as (running, (port,)):
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            get(port)
        told = running.stdout.read()
    assert "error forwarding port 81 to pod" in told
    assert "dial tcp4 127.0.0.1:81: connect: connection refused" in told


def test_twenty_commands_run_at_once(kube):
    """Each has its own conversation."""
    with ThreadPoolExecutor(20) as several:
        done = several.map(
            lambda i: kube("exec", "tools", "--", "sh", "-c", f"sleep 1; echo {i}").stdout,
            range(20),
        )
    assert list(done) == [f"{i}\n" for i in range(20)]


# ---------------------------------------------------------------- proxy and logs


def test_pods_services_and_nodes_are_reached_through_the_api(streams):
    """kubectl get --raw, and a browser through kubectl proxy."""
    base = "/api/v1/namespaces/streams"
    for path in (f"{base}/pods/web/proxy/", f"{base}/services/web:http/proxy/",
                 f"{base}/services/http:web:8080/proxy/"):  # fmt: skip
        assert "Welcome to nginx" in streams.kubectl("get", "--raw", path)
    assert streams.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/healthz") == "ok"
    for path, told in ((f"{base}/services/web:9/proxy/", 'no service port 9 found for service "'),
                       (f"{base}/pods/tools/proxy/", "connect: connection refused")):  # fmt: skip
        assert told in streams.run(KUBECTL, "get", "--raw", path, code=1).stderr
    argv = [KUBECTL, "proxy", "--port=0"]
    proxy = subprocess.Popen(argv, env=streams.env, stdout=subprocess.PIPE, text=True)
    try:
        port = int(proxy.stdout.readline().rpartition(":")[2])
        status, body = get(port, f"{base}/pods/web/proxy/")
        assert (status, b"Welcome to nginx" in body) == (200, True)
        assert get(port, f"{base}/pods/web/proxy")[0] == 301
    finally:
        proxy.kill()
        proxy.wait()
        proxy.stdout.close()


def test_a_followed_log_ends_with_its_container(streams):
    """kubectl logs -f of the container that an annotation names."""
    pod = """
apiVersion: v1
kind: Pod
metadata: {name: ends, annotations: {kubectl.kubernetes.io/default-container: b}}
spec:
  restartPolicy: Never
  containers:
    - {name: a, image: busybox, command: [sh, -c, "exit 0"]}
    - {name: b, image: busybox, command: [sh, -c, "until [ -e /go ]; do sleep 0.1; done;
        for i in 1 2 3 4; do echo $i; sleep 1; done"]}
"""
    n = ("-n", "streams")
    streams.kubectl("apply", *n, "-f", "-", stdin=pod)
    streams.kubectl("wait", "--for=jsonpath={.status.containerStatuses[?(@.name=='b')].started}"
                    "=true", "pod/ends", "--timeout=60s", *n)  # fmt: skip
    streams.kubectl("exec", "ends", "-c", "b", *n, "--", "touch", "/go")
    assert streams.kubectl("logs", "-f", "ends", *n) == "1\n2\n3\n4\n"
    assert streams.kubectl("logs", "ends", "--tail=1", *n) == "4\n"
    stamped = streams.kubectl("logs", "ends", "-c", "b", "--timestamps", "--limit-bytes=31", *n)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z 1?\n?", stamped)
    done = streams.run(KUBECTL, "logs", "ends", "-p", *n, code=1)
    assert 'previous terminated container "b" in pod "ends" not found' in done.stderr
