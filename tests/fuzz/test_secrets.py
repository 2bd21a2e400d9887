"""Nothing secret is told where it need not be: logs at level debug, answers of the CLI, refusals.

The audit log is the exception where its policy asks for bodies (upstream's own does the same).
"""

import base64
import json
import secrets
import ssl
from http.client import HTTPSConnection
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.clients.conftest import Live

POD = """---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: main
    image: busybox
    command: [sleep, 1d]
    envFrom: [{secretRef: {name: opaque}}]
    volumeMounts: [{name: files, mountPath: /files}]
  volumes:
  - {name: files, secret: {secretName: opaque}}
"""
AUDIT = """
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: Metadata, resources: [{group: "", resources: [secrets, serviceaccounts/token]}]}
- {level: Request}
"""
SECRET = {"apiVersion": "v1", "kind": "Secret"}


def private_key():
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class Kept:
    """What must not be told, each with the forms in which it might be."""

    def __init__(self):
        self.forms = {}

    def add(self, name, value):
        """``value``, remembered: as it is, in base64, and line by line."""
        data = value.encode()
        lines = [line for line in value.splitlines() if len(line) > 15 and "-----" not in line]
        self.forms[name] = {*lines, base64.b64encode(data).decode(), repr(data)[2:-1]}
        return value

    def drawn(self, name):
        return self.add(name, f"kept-{name}-{secrets.token_hex(12)}")

    def told_in(self, text):
        return [name for name, forms in self.forms.items() if any(form in text for form in forms)]


@pytest.fixture(scope="module")
def kept():
    return Kept()


@pytest.fixture(scope="module")
def cluster(kept, tmp_path_factory):
    """One node at level debug, Secrets encrypted, everything audited."""
    live = Live(tmp_path_factory.mktemp("kept"))
    key = kept.add("encryption key", base64.b64encode(secrets.token_bytes(32)).decode())
    provider = {"aesgcm": {"keys": [{"name": "k1", "secret": key}]}}
    encryption = {
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [provider]}],
    }  # fmt: skip
    for name, text in (("encryption", yaml.safe_dump(encryption)), ("audit", AUDIT)):
        (live.home / name).write_text(text)
        (live.home / name).chmod(0o600)
    live.podwire(
        "up", "--detach", "--nodes", "1", "--port", "0", "--time-profile", "fast",
        "--log-level", "debug", "--data-dir", live.home / "data",
        "--encryption-provider-config", live.home / "encryption",
        "--audit-policy-file", live.home / "audit", "--audit-log-path", live.home / "audited",
    )  # fmt: skip
    yield live
    live.podwire("down")


def logs(live):
    """What the cluster wrote down beside its keys and kubeconfigs."""
    state = live.home / "state" / "podwire" / "podwire"
    paths = [state / "log", live.home / "audited", *(live.home / "data" / "store").iterdir()]
    return {path.name: path.read_bytes().decode("utf-8", "replace") for path in paths}


@pytest.fixture(scope="module")
def said(cluster, kept):
    """What clients are told, by what they do: write Secrets of every type, use them, err."""
    live, told = cluster, {}
    live.kubectl("wait", "serviceaccount/default", "--for=create", "--timeout=30s")
    token = live.kubectl("create", "token", "default").strip()
    kept.add("token", token)
    kept.add("signature", token.split(".")[2])
    kept.add("administrator's token", (live.home / "data" / "token").read_text().strip())
    pem = kept.add("private key", private_key())
    account = {"kubernetes.io/service-account.name": "default"}
    secrets_of = {
        "opaque": ("Opaque", {}, {"password": kept.drawn("opaque")}),
        "basic": ("kubernetes.io/basic-auth", {}, {"username": "me", "password": kept.drawn("pw")}),
        "ssh": ("kubernetes.io/ssh-auth", {}, {"ssh-privatekey": pem}),
        "old": ("kubernetes.io/service-account-token", account, {}),
    }
    objects = [
        {**SECRET, "type": type_, "metadata": {"name": name, "annotations": notes}} | {
            "stringData": data
        }
        for name, (type_, notes, data) in secrets_of.items()
    ]  # fmt: skip
    told["create"] = live.kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(objects) + POD)
    live.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    data = json.loads(live.kubectl("get", "secret", "old", "-o", "json"))["data"]
    kept.add("legacy token", base64.b64decode(data["token"]).decode())
    assert "kept-opaque" in live.kubectl("exec", "web", "--", "cat", "/files/password")
    told["describe"] = live.kubectl("describe", "pods,nodes,serviceaccounts")
    told["describe secret"] = live.kubectl("describe", "secret", "opaque")
    told["events"] = live.kubectl("get", "events,pods,secrets", "-o", "wide")
    told["trace"] = live.podwire("trace", "pod/web", "svc/kubernetes", "-o", "json")
    told["get"] = live.podwire("get", "components")
    told["node"] = live.podwire("node", "exec", "node-1", "--", "sh", "-c", "ps aux; crictl ps")
    wrong = kept.drawn("wrong")
    for number, (method, media, body) in enumerate(mistakes(wrong)):
        path = "/api/v1/namespaces/default/secrets"
        path += "" if method == "POST" else "/opaque?fieldManager=me"
        status, text = asked(live, method, path, body, {"Content-Type": f"application/{media}"})
        assert status >= 400, (method, media, body)
        told[f"refusal {number}"] = text
    basic = base64.b64encode(f"me:{wrong}".encode()).decode()
    for header in (f"Bearer {wrong}", f"Bearer {token[:-9]}", f"Basic {basic}"):
        told[header[:8]] = asked(
            live, "GET", "/api/v1/pods", "", {"Authorization": header}, known=False
        )[1]
    return told


def mistakes(wrong):
    """Secrets and patches of them that are refused, with ``wrong`` in them."""
    for fields in (
        {"type": "kubernetes.io/basic-auth", "stringData": {"x": wrong}},
        {"type": "kubernetes.io/tls", "stringData": {"tls.key": wrong}},
        {"data": {"password": wrong}}, {"stringData": {"a/b": wrong}}, {"immutable": wrong},
        {"stringData": [wrong]}, {"data": {"a": {"b": wrong}}},
    ):  # fmt: skip
        text = json.dumps({**SECRET, "metadata": {"name": "wrong"}, **fields})
        yield "POST", "json", text
        yield "POST", "yaml", text + "]"
    for media, patch in (
        ("merge-patch+json", {"data": {"password": wrong}}),
        ("strategic-merge-patch+json", {"data": [wrong]}),
        ("strategic-merge-patch+json", {"data": {"$patch": "x", "password": wrong}}),
        ("json-patch+json", [{"op": "test", "path": "/data/password", "value": wrong}]),
        *(
            ("apply-patch+yaml", {**SECRET, "metadata": {"name": "opaque"}, "data": data})
            for data in ([wrong], {"a": [wrong]}, {"a": wrong})
        ),
    ):
        yield "PATCH", media, json.dumps(patch)
        yield "PATCH", media, json.dumps(patch)[:-1]


def asked(live, method, path, body, headers, *, known=True):
    """Status and body of an answer; with the administrator's certificate if ``known``."""
    config = yaml.safe_load((live.home / "kubeconfig").read_text())
    user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    if known:
        for name in ("client-certificate-data", "client-key-data"):
            (live.home / name).write_bytes(base64.b64decode(user[name]))
        context.load_cert_chain(
            live.home / "client-certificate-data", live.home / "client-key-data"
        )
    where = urlsplit(cluster["server"])
    connection = HTTPSConnection(where.hostname, where.port, context=context, timeout=60)
    connection.request(method, path, body.encode(), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_what_clients_are_told_repeats_no_secret(said, kept):
    """Neither refusals nor descriptions, events, traces and the tables of the CLI."""
    assert {name: found for name, text in said.items() if (found := kept.told_in(text))} == {}


def test_no_log_holds_a_secret(cluster, said, kept):
    """The log of all rooms at level debug, the audit log at Metadata, the encrypted store."""
    found = logs(cluster)
    assert "secrets" in found["audited"]
    assert {name: told for name, text in found.items() if (told := kept.told_in(text))} == {}


def test_what_was_looked_for_can_be_found(cluster, kept, said):
    """Whoever may read a Secret gets it."""
    text = cluster.kubectl("get", "secret", "opaque", "-o", "yaml")
    assert kept.told_in(text) == ["opaque"]
