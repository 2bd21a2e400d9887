"""What a trace to an Ingress says: the door, the rule, the endpoints, and what would help."""

from pathlib import Path

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.explain.table import render
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

pytestmark = pytest.mark.podwire(ingress="nginx", cni="calico")

ARTICLE = Path(__file__).resolve().parents[2] / "examples/article"
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s}
spec:
  ingressClassName: %s
  rules:
    - host: %s
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: %s, port: {number: 80}}}}
"""


def town(cluster, *more):
    """The article's frontend and api, Ready, and more manifests."""
    cluster.apply(ARTICLE / "frontend.yaml", ARTICLE / "api.yaml", *more)
    assert cluster.converge()
    return cluster


@pytest.fixture(scope="module")
def article():
    """The article's Ingress with all that it leads to, on a cluster that is only asked."""
    settings = ClusterSettings(time_profile="fast", ingress="nginx", cni="calico")
    with VirtualCluster(settings) as cluster:
        cluster.boot()
        yield town(cluster, ARTICLE / "ingress.yaml", ARTICLE / "ingress-backends.yaml")


def told(report):
    """Fate, cause, nearest change."""
    return report.fate, report.cause.summary, report.nearest and report.nearest.change


def l7(report):
    """The controller's steps: (stage, result, detail)."""
    return [
        (step.stage, step.result, step.detail)
        for hop in report.hops
        for step in hop.steps
        if step.stage in {"tls", "l7"}
    ]


def test_the_articles_url_is_followed_from_outside_to_each_endpoint(article):
    """Through the NodePort, the rule is named, both pods are branches, the answer comes back."""
    report = article.trace("external", "ingress/app-ingress", url="https://app.example.com/api")
    assert (report.fate, report.exit_code) == ("DELIVERED", 0)
    rule = "rule app.example.com /api (Prefix)"
    assert l7(report) == [
        ("tls", "terminate", "fake certificate"),
        ("l7", "proxy", f"ingress default/app-ingress {rule} → service api-service:80"),
    ]
    pods = {p.status.pod_ip for p in article.pods("default") if p.metadata.labels["app"] == "api"}
    assert {b.destination for b in report.branches} == {f"{ip}:8443" for ip in pods}
    assert [b.probability for b in report.branches] == [0.5, 0.5]
    assert report.reply_hops[-1].node == "gateway"
    (controller,) = article.pods("ingress-nginx")
    assert f"pod {controller.key}" in report.places.values()
    text = render(report, ascii_only=True)
    assert f"{controller.spec.node_name}  pod {controller.key}" in text
    assert "-> service api-service:80" in text


def test_every_endpoint_can_be_drawn_and_drawn_again(article):
    """--draw reaches each branch; the replay line gives the same walk."""
    url = "https://app.example.com/"
    ends = {}
    for draw in (0.2, 0.8):
        report = article.trace("external", "ingress/app-ingress", url=url, draw=draw)
        (drawn,) = [b.destination for b in report.branches if b.drawn]
        ends[drawn] = report
        again = article.trace(
            "external", "ingress/app-ingress", url=url, draw=draw,
            source_port=report.flow.src_port,
        )  # fmt: skip
        assert again.hops[:2] == report.hops[:2]
        assert [b.destination for b in again.branches if b.drawn] == [drawn]
    assert len(ends) == 2
    assert f"--url {url} --sport" in report.replay


def test_without_url_the_first_rule_is_asked(article):
    """By https when the Ingress has TLS."""
    report = article.trace("deploy/frontend", "ingress/app-ingress")
    assert (report.fate, report.url) == ("DELIVERED", "https://app.example.com/api")


def test_a_redirect_is_told_with_where_it_leads(article):
    """308 is no arrival; the https URL is tried and arrives."""
    report = article.trace("external", "ingress/app-ingress", url="http://app.example.com/api")
    where = "https://app.example.com/api"
    why = f"the controller answers 308 to {where}: ssl-redirect, and the host has TLS"
    assert told(report) == ("L7_DENIED", why, f"ask {where}")
    assert report.exit_code == 1
    assert report.cause.step == sum(len(hop.steps) for hop in report.hops)


def test_a_missing_service_names_the_near_one(cluster):
    """With the port that it has; tried on a fork."""
    town(cluster, ARTICLE / "ingress.yaml")
    report = cluster.trace("external", "ingress/app-ingress", url="https://app.example.com/api")
    assert told(report) == (
        "NO_ENDPOINTS",
        "the controller answers 503: Service default/api-service does not exist",
        "set service.name: api, port: 443 (now api-service:80) in Ingress default/app-ingress",
    )
    assert [ref.name for ref in report.cause.objects] == ["app-ingress"]


def test_a_port_that_the_service_lacks_is_named_with_those_it_has(cluster):
    """The Ingress asks for 80, Service api serves 443."""
    town(cluster, INGRESS % ("wrong", "nginx", "a.example", "api"))
    fate, why, nearest = told(cluster.trace("external", "ingress/wrong"))
    assert fate == "NO_ENDPOINTS"
    assert why.endswith("Service default/api has no port 80; it has 443")
    assert nearest == "set service.port: 443 (now 80) in Ingress default/wrong"


def test_a_service_that_selects_nobody_is_explained_as_for_kube_proxy(cluster):
    """Its selector is mistyped; the mended one is compiled and walked."""
    lonely = """
apiVersion: v1
kind: Service
metadata: {name: lonely}
spec: {selector: {app: frontnd}, ports: [{port: 80, targetPort: 8080}]}
"""
    town(cluster, lonely, INGRESS % ("i", "nginx", "a.example", "lonely"))
    fate, why, nearest = told(cluster.trace("external", "ingress/i"))
    assert fate == "NO_ENDPOINTS"
    assert why.endswith("Service default/lonely selects app=frontnd; no pod has these labels")
    assert nearest == "set the selector of Service default/lonely to {app: frontend}"


def test_a_policy_between_controller_and_pods_is_the_cause_of_the_second_walk(cluster):
    """The packet of the controller is denied; admitting it is the nearest change."""
    deny = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: frontend}}, policyTypes: [Ingress]}
"""
    town(cluster, deny, INGRESS % ("i", "nginx", "a.example", "frontend"))
    report = cluster.trace("external", "ingress/i")
    assert report.fate == "DENIED_IN"
    assert len(report.branches) == 2
    assert "is isolated for ingress by default/closed" in report.cause.summary
    assert report.cause.step == sum(len(hop.steps) for hop in report.hops)
    assert "NetworkPolicy default/closed" in report.nearest.change
    assert report.nearest.fate == "DELIVERED"


def test_a_host_without_rule_is_404_and_the_rules_own_host_helps(cluster):
    """The likest one."""
    town(cluster, INGRESS % ("i", "nginx", "a.example", "frontend"))
    report = cluster.trace("external", "ingress/i", url="http://b.example/x")
    assert report.fate == "L7_DENIED"
    assert "the controller answers 404: no Ingress has a rule for this host" in report.cause.summary
    assert report.nearest.change == "ask http://a.example/x"


def test_an_ingress_that_nobody_serves_says_why(cluster):
    """Its class is another's; the controller's own class would serve it."""
    town(cluster, INGRESS % ("i", "alb", "a.example", "frontend"))
    fate, why, nearest = told(cluster.trace("external", "ingress/i"))
    assert fate == "L7_DENIED"
    assert "does not serve Ingress default/i: its ingressClassName 'alb'" in why
    assert nearest == "set ingressClassName: nginx in Ingress default/i"


def test_an_older_ingress_that_takes_the_path_is_named(cluster):
    """The packet arrives, but not by the Ingress asked about."""
    town(cluster, INGRESS % ("first", "nginx", "a.example", "frontend"))
    cluster.sleep(2)
    cluster.apply(INGRESS % ("second", "nginx", "a.example", "api"))
    report = cluster.trace("external", "ingress/second")
    assert report.fate == "DELIVERED"
    assert report.cause.summary.endswith(
        'of Ingress default/second is left out: host "a.example" and path "/" is already defined '
        "in ingress default/first"
    )


def test_a_walk_that_dies_before_the_controller_is_explained_as_any_other(cluster):
    """The wire to the door's node is cut."""
    town(cluster, INGRESS % ("i", "nginx", "a.example", "frontend"))
    (controller,) = cluster.pods("ingress-nginx")
    cluster.cluster.fabric.wire.set_link("gateway", controller.spec.node_name, up=False)
    report = cluster.trace("external", "ingress/i")
    assert report.fate == "LINK_DOWN"
    assert l7(report) == []
    assert report.nearest.fate == "DELIVERED"


def test_the_controllers_service_is_traced_as_any_service(cluster):
    """svc/ and node/ need no L7."""
    cluster.converge()
    door = "svc/ingress-nginx-controller:http"
    outside = cluster.trace("external", door, destination_namespace="ingress-nginx")
    assert "exists on the cluster's nodes only" in outside.cause.summary
    inside = cluster.trace(
        "deploy/coredns", door, namespace="kube-system",
        destination_namespace="ingress-nginx",
    )  # fmt: skip
    assert inside.fate == "DELIVERED"


def test_a_trace_through_an_ingress_leaves_no_mark(article):
    """Kernels' state hashes are as before, whatever was tried."""
    hosts = article.cluster.fabric.hosts.values()
    before = [host.kernel.state_hash() for host in hosts]
    article.trace("external", "ingress/app-ingress", url="http://app.example.com/api")
    assert [host.kernel.state_hash() for host in hosts] == before


def test_what_cannot_be_asked_says_what_can(cluster):
    """400 and 404 with words."""
    cluster.apply(INGRESS % ("i", "nginx", "a.example", "frontend"))
    for source, destination, options, message in (
        ("external", "ingress/nosuch", {}, 'ingresses.networking.k8s.io "nosuch" not found'),
        ("external", "ingress/i:80", {}, "an Ingress has no ports; give --url"),
        ("ingress/i", "svc/frontend", {}, "an Ingress sends nothing"),
        ("external", "svc/frontend", {"url": "http://x"}, "a url is asked of ingress/NAME only"),
        ("external", "ingress/i", {"url": "ftp://x"}, "use http://HOST/PATH"),
        ("external", "ingress/i", {"protocol": "udp"}, "asked by tcp"),
    ):
        with pytest.raises(ApiError, match=message):
            cluster.trace(source, destination, **options)


@pytest.mark.podwire(ingress="none")
def test_a_cluster_without_controller_says_how_to_get_one(cluster):
    """Nothing would ever answer."""
    cluster.apply(INGRESS % ("i", "nginx", "a.example", "frontend"))
    with pytest.raises(ApiError, match="podwire up --ingress nginx"):
        cluster.trace("external", "ingress/i")


def test_what_the_trace_says_is_what_the_controller_does(cluster):
    """For a handful of URLs, the decision and the real answer agree."""
    town(cluster, ARTICLE / "ingress.yaml", INGRESS % ("i", "nginx", "a.example", "frontend"))
    door = cluster.get(kinds.SERVICE, "ingress-nginx-controller", "ingress-nginx").spec.cluster_ip
    for url, status in (
        ("http://a.example/x", "200"),
        ("http://c.example/x", "404"),
        ("http://app.example.com/", "308"),
        ("https://app.example.com/api", "503"),
    ):
        scheme, _, rest = url.partition("://")
        port = 443 if scheme == "https" else 80
        host = rest.partition("/")[0]
        said = l7(cluster.trace("external", "ingress/i", url=url))[-1][1]
        code = cluster.exec(
            "deploy/frontend", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}",
            "--resolve", f"{host}:{port}:{door}", url,
        ).stdout  # fmt: skip
        assert (code, said) == (status, "proxy" if status == "200" else status)
