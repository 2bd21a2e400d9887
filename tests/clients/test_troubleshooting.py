"""Every command of the article's section "Troubleshooting", typed as it stands there.

``ssh NODE ...`` is ``podwire node exec NODE -- ...``.
"""

import re

import pytest

from tests.clients.conftest import BIN
from tests.clients.terminal import terminal
from tests.waiting import until

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: shop}
spec: {containers: [{name: c, image: nicolaka/netshoot, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: nginx, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}
"""

COMMANDS = (
    ("kubectl exec -it shop -- ip addr",
     "^1: lo: <LOOPBACK,UP,LOWER_UP> .*eth0@if.* mtu 1450 .* inet 10.244.*/24 "),
    ("kubectl exec -it shop -- ip route", "^default via 10.244.* dev eth0"),
    ("ssh NODE ip route", r"10.244.\d.0/24 via 10.244.\d.0 dev flannel.1 onlink"),
    ("kubectl logs -n kube-system -l k8s-app=calico-node", r"\d+-\d+-\d+ .*felix"),
    ("kubectl exec -it shop -- cat /etc/resolv.conf", "nameserver 10.96.0.10.*ndots:5"),
    ("kubectl exec -it shop -- nslookup web", "Name:\tweb.default.svc.cluster.local\nAddress: "),
    ("kubectl exec -it shop -- dig web.default.svc.cluster.local",
     "status: NOERROR.*ANSWER SECTION:\nweb.default.svc.cluster.local. 30 IN\tA\t10.96."),
    ("kubectl exec -it shop -- curl -v web:80",
     "Welcome to nginx!.*> Host: web\n.*< HTTP/1.1 200 OK"),
    ("kubectl exec -it shop -- nc -zv web 80", "80 port .tcp/http. succeeded!"),
    ("kubectl get nodes -o wide", "INTERNAL-IP .*CONTAINER-RUNTIME\nnode-1 +Ready "),
    ("ssh NODE iptables -t nat -L KUBE-SERVICES -n",
     r"^target     prot opt source .*KUBE-SVC-\w{16} .* /\* default/web cluster IP \*/ tcp dpt:80"),
    ("kubectl get svc,endpoints -n default",
     "NAME +TYPE +CLUSTER-IP .*service/web .*NAME +ENDPOINTS +AGE.*endpoints/web +10.244.*:80 "),
    ("kubectl describe svc web", "Name: +web\n.*Endpoints: +10.244.*:80\n"),
    ("kubectl logs -n kube-system -l k8s-app=kube-proxy", 'Using iptables Proxier"'),
    ("kubectl get configmap -n kube-system kube-proxy -o yaml", 'mode: "?iptables"?\n'),
    ("kubectl logs -n kube-system -l k8s-app=aws-node", "No resources found in kube-system"),
    ("kubectl get pods -n kube-system -l k8s-app=kube-dns", "coredns-.* 1/1 +Running"),
    ("kubectl get endpoints web", "web +10.244.*:80 "),
    ("kubectl exec -it shop -- dig +trace web.default.svc.cluster.local",
     r"global options: \+cmd\n.*;; Received \d+ bytes from 10.96.0.10#53\(10.96.0.10\) in "),
    ("kubectl get networkpolicies -A", "default +web +app=web"),
    ("kubectl describe networkpolicy web", "PodSelector: +app=web.*Policy Types: +Ingress"),
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster(live):
    """A cluster with policies, and in it a shop and what it wants behind a Service."""
    live.kubectl("apply", "-f", "-", stdin=MANIFEST)
    live.kubectl("wait", "--for=condition=Ready", "pod/shop", "pod/web", "--timeout=30s")
    until("the Service has an endpoint", lambda: "10.244" in live.kubectl("get", "ep", "web"))
    yield live
    live.kubectl("delete", "-f", "-", "--wait=false", "--grace-period=1", stdin=MANIFEST)


def typed(cluster, line):
    """Type a line of the article: what was printed on both streams."""
    words = line.split()
    if words[0] == "ssh":
        node = cluster.kubectl("get", "pod", "shop", "-o", "jsonpath={.spec.nodeName}")
        return cluster.podwire("node", "exec", node, "--", *words[2:])
    done = cluster.run(str(BIN / "kubectl"), *words[1:])
    return done.stdout + done.stderr


def test_every_command_of_the_article_tells_what_it_tells_there(cluster):
    wrong = {
        line: told for line, wanted in COMMANDS
        if not re.search(wanted, told := typed(cluster, line), re.DOTALL | re.MULTILINE)
    }  # fmt: skip
    assert not wrong, "\n".join(f"$ {line}\n{told}" for line, told in wrong.items())


def test_a_debugging_shell_comes_and_goes(cluster):
    """``kubectl run debug ... -it --rm -- bash``, in a terminal."""
    line = "run debug --image=nicolaka/netshoot -it --rm -- bash"
    with terminal([str(BIN / "kubectl"), *line.split()], cluster.env) as shell:
        shell.until("try pressing enter.")
        shell.type("curl -so /dev/null -w 'it said %{http_code}.' web")
        shell.until("it said 200.")
        shell.type("exit")
        shell.until('pod "debug" deleted')
