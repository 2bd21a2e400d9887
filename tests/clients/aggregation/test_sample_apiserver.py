"""Kubernetes' sample-apiserver, built with Go, behind an APIService; kubectl asks for its objects.

It reads ``extension-apiserver-authentication``, believes our front proxy, and asks our server
TokenReviews and SubjectAccessReviews. ``make sweep`` runs it: a build without a cache takes
minutes.
"""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.clients import installed
from tests.etcds import Etcd, free_port
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("aggregation")

HERE = Path(__file__).parent
NAME = "v1alpha1.wardle.example.com"
FLUNDER = """
apiVersion: wardle.example.com/v1alpha1
kind: Flunder
metadata: {name: NAME}
spec: SPEC
"""


def flunder(name, spec="{}"):
    return FLUNDER.replace("NAME", name).replace("SPEC", spec)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The built server."""
    built = tmp_path_factory.mktemp("wardle") / "wardle"
    return installed.go_program(HERE / "server", built)


@pytest.fixture(scope="module")
def own_kubeconfig(fresh):
    """Of the server's service account."""
    fresh.kubectl("apply", "-f", str(HERE / "wardle.yaml"))
    config = json.loads(fresh.kubectl("config", "view", "--raw", "-o", "json"))
    token = fresh.kubectl("create", "token", "apiserver", "-n", "wardle").strip()
    config["users"] = [{"name": "wardle", "user": {"token": token}}]
    config["contexts"] = [
        {"name": "own", "context": {"cluster": config["clusters"][0]["name"], "user": "wardle"}}
    ]
    path = fresh.home / "wardle.kubeconfig"
    path.write_text(json.dumps({**config, "current-context": "own"}))
    return path


@pytest.fixture(scope="module")
def wardle(fresh, program, own_kubeconfig, tmp_path_factory):
    """The cluster, with the server at work behind its APIService."""
    folder, port = tmp_path_factory.mktemp("at-work"), free_port()
    etcd = Etcd(folder / "etcd").start()
    log = (folder / "log").open("w")
    running = subprocess.Popen(
        [
            program, "--etcd-servers", etcd.url, "--bind-address", "127.0.0.1",
            "--secure-port", str(port), "--cert-dir", folder / "certs",
            *(f"--{part}kubeconfig={own_kubeconfig}"
              for part in ("", "authentication-", "authorization-")),
        ], stdout=log, stderr=log,
    )  # fmt: skip
    try:
        fresh.podwire("attach", "--detach", "-n", "wardle", "svc/api", f"127.0.0.1:{port}")
        fresh.kubectl("wait", "--for=condition=Available", f"apiservice/{NAME}", "--timeout=60s")
        until("it admits writes", lambda: "created" in made(fresh, "first"))
        yield fresh
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(90)
        log.close()
        etcd.kill()


def made(cluster, name):
    command = [str(installed.kubectl("1.37")), "create", "-f-"]
    done = subprocess.run(
        command, env=cluster.env, input=flunder(name), capture_output=True, text=True, check=False
    )
    return done.stdout


def test_its_objects_are_like_any_others(wardle):
    """Created, applied by both sides, patched, refused for a field that is none, told by explain
    of both OpenAPI versions, deleted with their namespace.
    """
    listed = wardle.kubectl("api-resources", "--api-group=wardle.example.com")
    assert "flunders" in listed
    assert "Flunder" in listed
    say = ("apply", "-f-")
    assert "created" in wardle.kubectl(*say, stdin=flunder("one"))
    assert "configured" in wardle.kubectl(*say, stdin=flunder("one", "{reference: two}"))
    assert "serverside-applied" in wardle.kubectl(*say, "--server-side", stdin=flunder("three"))
    wardle.kubectl("patch", "flunder", "three", "--type=merge", "-p", '{"spec":{"reference":"x"}}')
    at = ("get", "flunder", "three", "-o", "jsonpath={.spec}")
    assert json.loads(wardle.kubectl(*at)) == {"reference": "x", "referenceType": "Flunder"}
    why = wardle.run(
        str(installed.kubectl("1.37")), *say, stdin=flunder("bad", "{nosuch: 1}"), code=1
    ).stderr
    assert 'strict decoding error: unknown field "spec.nosuch"' in why
    for form in ("plaintext", "plaintext-openapiv2"):
        told = wardle.kubectl("explain", "fischer", f"--output={form}")
        assert "DisallowedFlunders holds a list of Flunder.Names that are disallowed." in told
    wardle.kubectl("create", "namespace", "sea")
    wardle.kubectl("-n", "sea", *say, stdin=flunder("four"))
    wardle.kubectl("delete", "namespace", "sea", "--timeout=30s")
    assert "four" not in wardle.kubectl("get", "flunders", "-A")


def test_it_asks_our_server_who_may_do_what(wardle):
    """Whom RBAC lets in gets in, also with a token at its own door; others are refused there."""
    own = str(installed.kubectl("1.37"))
    refused = wardle.run(own, "get", "flunders", "--as=bob", code=1).stderr
    assert 'User "bob" cannot list resource "flunders"' in refused
    wardle.kubectl(
        "create", "clusterrole", "sea", "--verb=list", "--resource=flunders.wardle.example.com"
    )
    wardle.kubectl("create", "clusterrolebinding", "sea", "--clusterrole=sea", "--user=bob",
                   "--serviceaccount=default:default")  # fmt: skip
    assert "first" in wardle.kubectl("get", "flunders", "--as=bob")
    token = wardle.kubectl("create", "token", "default").strip()
    slices = ("get", "endpointslices", "-n", "wardle", "-o", "json")
    (piece,) = json.loads(wardle.kubectl(*slices))["items"]
    door = next(v for v in piece["metadata"]["annotations"].values() if v.startswith("127.0.0.1:"))
    direct = ("--kubeconfig=/dev/null", f"--server=https://{door}", "--insecure-skip-tls-verify",
              f"--token={token}")  # fmt: skip
    assert "first" in wardle.kubectl("get", "flunders", *direct)
    refused = wardle.run(own, "delete", "flunder", "first", *direct, code=1).stderr
    assert 'User "system:serviceaccount:default:default" cannot delete resource' in refused


def test_while_it_is_away_namespaces_do_not_end(wardle):
    """And say so; they end when it is back."""
    own = str(installed.kubectl("1.37"))
    slices = ("get", "endpointslices", "-n", "wardle", "-o", "json")
    (piece,) = json.loads(wardle.kubectl(*slices))["items"]
    door = next(v for v in piece["metadata"]["annotations"].values() if v.startswith("127.0.0.1:"))
    wardle.kubectl("create", "namespace", "stuck")
    wardle.podwire("detach", "-n", "wardle", "svc/api")
    wardle.kubectl("wait", "--for=condition=Available=False", f"apiservice/{NAME}")
    refused = wardle.run(own, "get", "flunders", code=1).stderr
    assert "the server is currently unable to handle the request" in refused
    wardle.kubectl("delete", "namespace", "stuck", "--wait=false")
    wardle.kubectl("wait", "--for=condition=NamespaceDeletionDiscoveryFailure", "ns/stuck")
    told = wardle.kubectl("get", "ns", "stuck", "-o", "jsonpath={.status.conditions[*].message}")
    assert "stale GroupVersion discovery: wardle.example.com/v1alpha1" in told
    wardle.podwire("attach", "--detach", "-n", "wardle", "svc/api", door)
    wardle.kubectl("wait", "--for=delete", "ns/stuck", "--timeout=60s")
