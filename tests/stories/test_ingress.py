"""Stories through the Ingress door: from outside, over the dataplane, to pods."""

import base64
import ssl
from pathlib import Path

import pytest

from podwire.api import kinds
from podwire.client import http1
from podwire.ingress.tls import fake_certificate
from podwire.l7.certs import KeyPair
from podwire.runtime.rng import SeededRng
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

pytestmark = pytest.mark.podwire(ingress="nginx")

ARTICLE = Path(__file__).resolve().parents[2] / "examples/article"
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: registry.k8s.io/e2e-test-images/agnhost:2.53
          args: [netexec, --http-port=8080]
          readinessProbe: {httpGet: {path: /hostname, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
DOOR = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: door}
spec:
  ingressClassName: nginx
  rules:
    - host: web.example
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
"""


def node_port(cluster, name="http"):
    service = cluster.get(kinds.SERVICE, "ingress-nginx-controller", "ingress-nginx")
    return next(p.node_port for p in service.spec.ports if p.name == name)


def outside(cluster, target="/hostname", host="web.example"):
    """A request from the gateway, as a publication sends it."""

    async def fetch():
        fabric = cluster.cluster.fabric
        stream = await fabric.connect("gateway", "", "192.168.0.11", node_port_, 30.0)
        try:
            return await http1.fetch(stream, "GET", target, host)
        finally:
            await stream.close()

    node_port_ = node_port(cluster)
    return cluster.run(fetch())


def served(cluster, status=200, **request):
    """Wait until a request from outside is answered so; the answer."""

    def asked():
        found = outside(cluster, **request)
        return found if found.status == status else None

    return cluster.until(asked, what=f"an answer {status}")


def test_the_articles_ingress_answers_and_walks_to_the_articles_pods(cluster):
    """Plain requests are sent to https; there, the path decides between api and frontend."""
    cluster.apply(
        *(ARTICLE / f"{name}.yaml" for name in ("frontend", "api", "ingress", "ingress-backends"))
    )
    assert cluster.converge()
    plain = outside(cluster, "/api", "app.example.com")
    assert (plain.status, plain.header("location")) == (308, "https://app.example.com/api")
    door = cluster.get(kinds.SERVICE, "ingress-nginx-controller", "ingress-nginx").spec.cluster_ip
    for path, wanted in (("/hostname", "frontend-"), ("/api/hostname", "NOW: ")):
        told = cluster.exec(
            "deploy/frontend", "curl", "-sk", "--resolve", f"app.example.com:443:{door}",
            f"https://app.example.com{path}",
        )  # fmt: skip
        assert told.stdout.startswith(wanted)


def test_status_shows_the_node_of_the_controller_and_events_say_what_happened(cluster):
    """As ingress-nginx on bare metal."""
    cluster.apply(WEB, DOOR)
    assert cluster.converge()
    (pod,) = cluster.pods("ingress-nginx")
    node = cluster.get(kinds.NODE, pod.spec.node_name, "")
    ingress = cluster.get(kinds.INGRESS, "door")
    assert [e.ip for e in ingress.status.load_balancer.ingress] == [node.internal_ip]
    told = [(e.involved_object.kind, e.reason, e.message) for e in cluster.objects(kinds.EVENT)]
    assert ("Ingress", "Sync", "Scheduled for sync") in told
    assert any(kind == "Pod" and reason == "RELOAD" for kind, reason, _ in told)


def test_the_client_behind_the_node_port_is_the_node(cluster):
    """kube-proxy masquerades: X-Forwarded-For is what the controller's socket says."""
    cluster.apply(WEB, DOOR)
    assert cluster.converge()
    seen = outside(cluster, "/header?key=X-Forwarded-For").body.decode()
    (pod,) = cluster.pods("ingress-nginx")
    assert seen.rpartition(".")[2] in {"0", "1"}
    assert seen.split(".")[:2] == pod.status.pod_ip.split(".")[:2]


def test_without_endpoints_503_and_back_again(cluster):
    """Scaled to nothing and up; the controller follows EndpointSlices."""
    cluster.apply(WEB, DOOR)
    assert cluster.converge()
    assert served(cluster).status == 200
    for replicas, status in ((0, 503), (1, 200)):
        patch = {"spec": {"replicas": replicas}}
        cluster.run(cluster.cluster.client.patch(kinds.DEPLOYMENT, "web", patch, "default"))
        assert served(cluster, status).status == status


def test_a_rollout_is_served_without_a_single_502(cluster):
    """Requests all the while; each ends at a pod of the old or the new revision."""
    cluster.apply(WEB, DOOR)
    assert cluster.converge()
    before = {p.metadata.name for p in cluster.pods("default")}
    annotation = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
    cluster.run(cluster.cluster.client.patch(kinds.DEPLOYMENT, "web", annotation, "default"))
    answers = []

    def replaced():
        answer = outside(cluster)
        answers.append((answer.status, answer.body.decode()))
        pods = cluster.pods("default")
        return not before & {p.metadata.name for p in pods} and all(p.ready for p in pods)

    cluster.until(replaced)
    answers += [(outside(cluster).status, "") for _ in range(4)]
    assert [status for status, _ in answers] == [200] * len(answers)
    hosts = {name for _, name in answers if name}
    assert hosts & before
    assert hosts - before


def test_a_deleted_ingress_is_gone_from_the_door(cluster):
    """404, as for a host that never was."""
    cluster.apply(WEB, DOOR)
    assert cluster.converge()
    assert served(cluster).status == 200
    cluster.delete(kinds.INGRESS, "door")
    assert served(cluster, 404).status == 404


def test_ingresses_of_other_classes_are_left_alone(cluster):
    """No status, no route; a default class takes those that name none."""
    other = DOOR.replace("ingressClassName: nginx", "ingressClassName: alb")
    bare = DOOR.replace("  ingressClassName: nginx\n", "").replace("name: door", "name: bare")
    cluster.apply(WEB, other, bare)
    assert cluster.converge()
    assert outside(cluster).status == 404
    assert cluster.get(kinds.INGRESS, "door").status.load_balancer.ingress == []
    marked = {"ingressclass.kubernetes.io/is-default-class": "true"}
    patch = {"metadata": {"annotations": marked}}
    cluster.run(cluster.cluster.client.patch(kinds.INGRESS_CLASS, "nginx", patch))
    cluster.delete(kinds.INGRESS, "bare")
    cluster.apply(bare)
    assert cluster.get(kinds.INGRESS, "bare").spec.ingress_class_name == "nginx"
    assert served(cluster).status == 200


def test_an_annotation_that_is_not_modelled_is_told(cluster):
    """By a Warning about the Ingress; those that are modelled are not."""
    notes = (
        "metadata: {name: door, annotations: {nginx.ingress.kubernetes.io/auth-url: 'http://x', "
        "nginx.ingress.kubernetes.io/ssl-redirect: 'false'}}"
    )
    cluster.apply(WEB, DOOR.replace("metadata: {name: door}", notes))
    assert cluster.converge()
    told = [e.message for e in cluster.objects(kinds.EVENT) if e.reason == "NotModelled"]
    assert told == [
        "annotation nginx.ingress.kubernetes.io/auth-url is not modelled and has no effect"
    ]


def test_two_controllers_share_the_door_and_the_last_takes_its_addresses_along(cluster):
    """Status names both nodes, then one, then none."""
    cluster.apply(WEB, DOOR)
    assert cluster.converge()

    def shown(count):
        found = cluster.get(kinds.INGRESS, "door").status.load_balancer.ingress
        return len(found) == count

    for replicas, count in ((2, 2), (1, 1), (0, 0)):
        name = "ingress-nginx-controller"
        patch = {"spec": {"replicas": replicas}}
        cluster.run(cluster.cluster.client.patch(kinds.DEPLOYMENT, name, patch, "ingress-nginx"))
        cluster.until(lambda count=count: shown(count), what=f"{count} addresses")


def secret(name, pair):
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name},
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def handshake(cluster, server_name):
    """A real TLS handshake over the modelled network from the gateway: the certificate, DER."""

    async def shake():
        stream = await cluster.cluster.fabric.connect("gateway", "", "192.168.0.11", port, 30.0)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(inward, outward, server_hostname=server_name)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await stream.send(outward.read())
                inward.write(await stream.recv())
            else:
                break
        request = f"GET /hostname HTTP/1.1\r\nHost: {server_name}\r\nConnection: close\r\n\r\n"
        tls.write(request.encode())
        await stream.send(outward.read())
        answer = b""
        while data := await stream.recv():
            inward.write(data)
            try:
                answer += tls.read(65536)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                continue
        return tls.getpeercert(binary_form=True), answer

    port = node_port(cluster, "https")
    return cluster.run(shake())


def test_sni_chooses_the_certificate_and_real_tls_crosses_the_modelled_network(cluster):
    """The Secret's for its host, as soon as it is there; the fake one for everyone else."""
    pair = fake_certificate(SeededRng("story"), cluster.env.clock.now_ns())
    named = KeyPair(pair.certificate, pair.key, pair.names)
    tls = DOOR.replace("web.example", "ingress.local")
    cluster.apply(WEB, tls + "  tls: [{hosts: [ingress.local], secretName: mine}]\n")
    assert cluster.converge()
    wanted = ssl.PEM_cert_to_DER_cert(named.certificate.decode())
    assert handshake(cluster, "ingress.local")[0] != wanted
    cluster.apply(secret("mine", named))
    cluster.until(lambda: handshake(cluster, "ingress.local")[0] == wanted)
    certificate, answer = handshake(cluster, "ingress.local")
    assert certificate == wanted
    assert b"200 OK" in answer
    assert handshake(cluster, "other.example")[0] != wanted


def test_the_door_replays():
    """Equal seeds, equal history, the controller's part included."""

    def history():
        with VirtualCluster(ClusterSettings(time_profile="fast", ingress="nginx"), 5) as cluster:
            cluster.boot()
            cluster.apply(WEB, DOOR)
            cluster.converge()
            outside(cluster)
            return cluster.trace_hash

    assert history() == history()
