"""curl as it is, against the published doors of the Ingress controller."""

import datetime as dt
import json
import shutil

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytestmark = [
    pytest.mark.xdist_group("live"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
RETRY = ("--retry", "20", "--retry-all-errors", "--retry-delay", "1", "--max-time", "30")
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: door}
spec:
  ingressClassName: nginx
  tls: [{hosts: [%(host)s], secretName: door-tls}]
  rules:
    - host: %(host)s
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
"""


def self_signed(host, folder):
    """A certificate for a host and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    now = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = folder / "tls.crt", folder / "tls.key"
    files[0].write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return map(str, files)


def doors(live):
    """The real addresses of the controller's ports, by name."""
    shown = json.loads(live.podwire("get", "endpoints", "-o", "json"))["ingress"]
    return {entry["port"]: entry["address"] for entry in shown}


@pytest.fixture
def door(live, namespace):
    """A Deployment behind an Ingress with TLS for a host of its own; the host."""
    n = ("-n", namespace)
    host = f"{namespace[:40].strip('-')}.example.com"
    live.kubectl("create", "deployment", "web", f"--image={AGNHOST}", *n,
                 "--", "/agnhost", "netexec", "--http-port=80")  # fmt: skip
    live.kubectl("expose", "deployment", "web", "--port=80", *n)
    live.kubectl("apply", "-f", "-", *n, stdin=INGRESS % {"host": host})
    live.kubectl("rollout", "status", "deployment/web", "--timeout=60s", *n)
    live.kubectl("wait", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "ingress/door",
                 "--timeout=60s", *n)  # fmt: skip
    return host


def test_plain_http_is_redirected_and_https_answers(live, namespace, door):
    """By Host header alone, with the fake certificate; the pod says who it is."""
    pod = live.kubectl("get", "pods", "-o", "name", "-n", namespace).strip()
    open_doors = doors(live)
    plain = live.run(
        "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}",
        "-H", f"Host: {door}", f"http://{open_doors['http']}/hostname",
    ).stdout  # fmt: skip
    assert plain == f"308 https://{door}/hostname"
    secure = live.run(
        "curl", "-sSk", "-H", f"Host: {door}", *RETRY, f"https://{open_doors['https']}/hostname"
    ).stdout
    assert f"pod/{secure}" == pod


def test_sni_presents_the_secrets_certificate_and_curl_trusts_it(live, namespace, door, tmp_path):
    """--cacert and --resolve, nothing switched off; renewed without restart."""
    certificate, key = self_signed(door, tmp_path)
    port = doors(live)["https"].rpartition(":")[2]
    ask = (
        "curl", "-sS", "--cacert", certificate, "--resolve", f"{door}:{port}:127.0.0.1",
        f"https://{door}:{port}/header?key=X-Forwarded-Proto",
    )  # fmt: skip
    assert "certificate" in live.run(*ask, code=60).stderr
    live.kubectl("create", "secret", "tls", "door-tls", "--cert", certificate, "--key", key,
                 "-n", namespace)  # fmt: skip
    assert live.run(*ask, *RETRY).stdout == "https"


def test_bodies_pass_both_ways_on_one_connection(live, door):
    """A chunked upload and a download, keep-alive between them."""
    address = doors(live)["https"]
    done = live.run(
        "curl", "-sSk", "-H", f"Host: {door}", "-H", "Transfer-Encoding: chunked",
        "--data-binary", "@-", "-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null",
        f"https://{address}/echo?msg=a", "-o", "/dev/null", f"https://{address}/echo?msg=b",
        stdin="x" * 300_000,
    ).stdout  # fmt: skip
    assert done.split() == ["200", "1", "200", "0"]


def test_kubectl_shows_the_ingress_as_people_know_it(live, namespace, door):
    """Class, host, address, ports; describe lists backends and the Sync event."""
    row = live.kubectl("get", "ingress", "door", "--no-headers", "-n", namespace).split()
    assert row[:3] == ["door", "nginx", door]
    assert row[3].startswith("192.168.0.")
    text = live.kubectl("describe", "ingress", "door", "-n", namespace)
    assert "web:80 (10.244." in text
    assert "Scheduled for sync" in text


def test_a_trace_to_the_ingress_ends_at_the_pod(live, namespace, door):
    """The same way that curl takes; exit code 0."""
    out = live.podwire("trace", "external", "ingress/door", "-n", namespace,
                       "--url", f"https://{door}/x")  # fmt: skip
    assert f"ingress {namespace}/door rule {door} / (Prefix) → service web:80" in out
    assert "DELIVERED" in out
