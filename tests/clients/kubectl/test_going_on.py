"""kubectl commands that go on until they are stopped: watch, logs, proxy, port-forward, attach."""

import json
import queue
import re
import threading
from contextlib import contextmanager
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.xdist_group("kubectl-going-on")

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
PATIENCE_S = 60


@pytest.fixture(scope="module")
def transcript():
    """One cluster for this file."""


class Running:
    """A command that goes on, read line by line without ever waiting for ever."""

    def __init__(self, process):
        self.process = process
        self.lines = queue.Queue()
        for pipe in (process.stdout, process.stderr):
            threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe):
        for line in pipe:
            self.lines.put(line.rstrip("\n"))

    def says(self, expression):
        """The match of the next line that fits; what came before is passed over."""
        passed = []
        while True:
            try:
                passed.append(self.lines.get(timeout=PATIENCE_S))
            except queue.Empty:
                raise AssertionError(f"never said {expression!r}: {passed}") from None
            if found := re.search(expression, passed[-1]):
                return found


def fetched(url, data=None):
    """The body that a loopback address answers; with ``data``, to a POST."""
    with urlopen(url, data, timeout=PATIENCE_S) as answer:  # noqa: S310 an http:// of this file
        return answer.read()


@contextmanager
def going_on(desk, *argv):
    """The command while it runs; it is killed afterwards."""
    with desk.started("kubectl", *argv) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


@pytest.fixture
def web(desk):
    """A Ready pod named web that serves HTTP on 8080, and its Service on 80."""
    desk.run("kubectl", "run", "web", f"--image={AGNHOST}", "--port=8080", "--", "netexec")
    desk.run("kubectl", "expose", "pod", "web", "--port=80", "--target-port=8080")
    desk.run("kubectl", "wait", "pod/web", "--for=condition=Ready", "--timeout=60s")


def test_a_watch_prints_a_row_for_each_change(desk):
    """get -w: the table's head once, a row per change; with -o name a name per change."""
    with going_on(desk, "get", "deploy", "-w") as watch:
        desk.run("kubectl", "create", "deployment", "web", "--image=nginx")
        watch.says(r"^NAME +READY +UP-TO-DATE +AVAILABLE +AGE$")
        watch.says(r"^web +1/1 +1 +1 ")
        desk.run("kubectl", "scale", "deployment", "web", "--replicas=2")
        watch.says(r"^web +1/2 +")
        watch.says(r"^web +2/2 +2 +2 ")


def test_a_watch_tells_the_kind_of_change_when_asked(desk):
    """--output-watch-events, and --watch-only, which leaves out what is there already."""
    desk.run("kubectl", "create", "cm", "old")
    chosen = ("get", "cm", "--watch-only", "--output-watch-events", "-l", "!no")
    with going_on(desk, *chosen) as watch:
        # a watch that is not open yet would miss what was created before it
        names = iter(f"new-{n}" for n in range(100))
        while watch.lines.empty():
            desk.run("kubectl", "create", "cm", next(names))
        assert watch.says("^EVENT +NAME +DATA +AGE$")
        first = watch.says(r"^ADDED +(new-\d+) +0")[1]
        desk.run("kubectl", "label", "cm", first, "a=b")
        watch.says(rf"^MODIFIED +{first} ")
        desk.run("kubectl", "delete", "cm", first)
        watch.says(rf"^DELETED +{first} ")


def test_a_watch_of_objects_prints_whole_objects(desk):
    """-o json gives each as it becomes; a selected object that stops fitting is gone."""
    with going_on(
        desk, "get", "cm", "-w", "-o", "jsonpath={.metadata.name}={.data.a}{'\\n'}"
    ) as watch:
        desk.run("kubectl", "create", "cm", "c", "--from-literal=a=1")
        watch.says("^c=1$")
        desk.run("kubectl", "patch", "cm", "c", "--type=merge", "-p", '{"data":{"a":"2"}}')
        watch.says("^c=2$")


def test_logs_are_followed_to_the_end_of_the_container(desk):
    """logs -f ends by itself when the container does."""
    script = "echo line 1; until [ -e /go ]; do sleep 0.1; done; echo line 2; echo line 3"
    desk.run("kubectl", "run", "count", "--image=busybox", "--restart=Never", "--",
             "sh", "-c", script)  # fmt: skip
    desk.run("kubectl", "wait", "pod/count", "--for=condition=Ready", "--timeout=60s")
    with going_on(desk, "logs", "-f", "count") as logs:
        logs.says("^line 1$")
        desk.run("kubectl", "exec", "count", "--", "touch", "/go")
        logs.says("^line 2$")
        logs.says("^line 3$")
        assert logs.process.wait(PATIENCE_S) == 0


def test_the_proxy_serves_the_api_without_credentials(desk, web):
    """kubectl proxy: objects, and pods and services behind it."""
    with going_on(desk, "proxy", "--port=0") as proxy:
        port = proxy.says(r"Starting to serve on 127.0.0.1:(\d+)")[1]
        base = f"http://127.0.0.1:{port}/api/v1/namespaces/{desk.namespace}"
        assert json.loads(fetched(f"{base}/pods/web"))["metadata"]["name"] == "web"
        assert fetched(f"{base}/pods/web:8080/proxy/hostname") == b"web"
        assert fetched(f"{base}/pods/http:web:8080/proxy/echo?msg=said", data=b"") == b"said"
        assert fetched(f"{base}/services/web:80/proxy/hostname") == b"web"


@pytest.mark.parametrize("target", ["pod/web", "service/web"])
def test_ports_are_forwarded_to_pods(desk, web, target):
    """port-forward of a pod and of a Service, several connections one after the other."""
    port = "8080" if target.startswith("pod") else "80"
    with going_on(desk, "port-forward", target, f":{port}") as forward:
        local = forward.says(r"Forwarding from 127.0.0.1:(\d+) -> 8080")[1]
        for _ in range(3):
            assert fetched(f"http://127.0.0.1:{local}/hostname") == b"web"
            forward.says("Handling connection for")


def test_one_attaches_to_what_runs(desk):
    """attach -i: what is typed reaches the program, what it prints comes back."""
    desk.run("kubectl", "run", "echo", "--image=busybox", "-i=false", "--overrides",
             '{"spec":{"containers":[{"name":"echo","image":"busybox","command":["cat"],'
             '"stdin":true}]}}')  # fmt: skip
    desk.run("kubectl", "wait", "pod/echo", "--for=condition=Ready", "--timeout=60s")
    with going_on(desk, "attach", "-i", "echo") as attached:
        attached.process.stdin.write("hello there\n")
        attached.process.stdin.flush()
        attached.says("^hello there$")


def test_a_rollout_is_watched_until_it_is_done(desk):
    """rollout status tells of each step, and ends."""
    desk.run("kubectl", "create", "deployment", "web", "--image=nginx", "--replicas=3")
    with going_on(desk, "rollout", "status", "deploy/web") as status:
        status.says('deployment "web" successfully rolled out')
        assert status.process.wait(PATIENCE_S) == 0
