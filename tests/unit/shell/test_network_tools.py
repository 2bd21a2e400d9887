"""curl, wget, nc, nslookup, dig, host, getent and ping, as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from podwire.client.counters import ProbeAnswer
from podwire.coredns.upstream import Upstream
from podwire.kubelet.programs import exec_command
from podwire.kubelet.programs.host import ProgramHost
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.programs.fakes import Captured, FakeProcess, spec
from tests.unit.programs.flatnet import FlatNet

DOMAIN = "default.svc.cluster.local."
ZONE = {
    f"backend.{DOMAIN}": ("10.96.7.7",),
    f"dual.{DOMAIN}": ("10.96.7.8", "fd00::8"),
    f"alias.{DOMAIN}": (f"backend.{DOMAIN}",),
    f"dead.{DOMAIN}": ("10.96.9.9",),
    f"silent.{DOMAIN}": ("10.244.9.9",),
    "api.example.com.": ("203.0.113.10",),
}
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"


def run(
    line: str,
    image: str = "nicolaka/netshoot",
    stdin: Sequence[bytes] = (),
    dns: bool = True,
    stdout_only: bool = False,
) -> tuple[int, str, float]:
    """A command beside a DNS server, an nginx behind backend:80 and an agnhost behind :8080."""

    async def main(env: Env) -> tuple[int, str, float]:
        net = FlatNet()
        net.add("dns", "", "10.96.0.10")
        net.silent.append("10.244.9.9")
        net.aliases["10.96.7.7", 80] = ("10.244.2.2", 80)
        net.aliases["10.96.7.7", 8080] = ("10.244.2.3", 8080)
        net.aliases["10.96.7.7", 8081] = ("10.244.2.3", 8081)
        net.add("svc", "", "10.96.9.9")
        host = ProgramHost(make_ctx(env, FakeApi(env)))
        page = {"/usr/share/nginx/html/index.html": b"hello\n"}
        servers = [
            (spec("nginx", ip="10.244.2.2", node="node-2"), page),
            (spec(AGNHOST, "netexec", ip="10.244.2.3", node="node-2", hostname="two"), {}),
        ]
        containers = [await host.start(FakeProcess(net, of, files)) for of, files in servers]
        process = FakeProcess(net, spec(image))
        captured = Captured(env, process, stdin)
        if stdout_only:
            captured.env.write_stderr = lambda _data: None
        else:
            captured.env.write_stderr = captured.env.write_stdout
        async with Nursery() as tasks:
            if dns:
                tasks.start(Upstream(ZONE).run(net, "dns"), name="dns")
            else:
                net.silent.append("10.96.0.10")
            await env.clock.sleep(0.01)
            began = env.clock.monotonic_ns()
            code = await exec_command(captured.env, ["sh", "-c", line])
            taken_s = (env.clock.monotonic_ns() - began) / 1e9
            tasks.cancel()
        for container in containers:
            container.signal("KILL")
        return code, captured.text, taken_s

    return sim.run(main, horizon_s=10_000, max_steps=100_000)


@pytest.mark.parametrize(
    ("line", "code", "output"),
    [
        ("curl -s http://backend", 0, "hello\n"),
        ("curl -s backend:8080/hostname", 0, "two"),
        ("curl -s -o /dev/null -w '%{http_code} %{remote_ip}' backend/no", 0, "404 10.96.7.7"),
        ("curl -sSf backend/none", 22, "curl: (22) The requested URL returned error: 404\n"),
        ("curl -s nosuch", 6, ""),
        ("curl -sS nosuch", 6, "curl: (6) Could not resolve host: nosuch\n"),
        ("curl -sS dead", 7,
         "curl: (7) Failed to connect to dead port 80 after 0 ms: Could not connect to server\n"),
        ("curl -s --retry 2 --retry-connrefused dead; echo $?", 0, "7\n"),
        ("curl -sS --retry 1 --retry-delay 3 --retry-connrefused dead", 7,
         ("curl: (7) Failed to connect to dead port 80 after 0 ms: Could not connect to server\n"
         "Warning: Problem: connection refused. Will retry in 3 seconds. 1 retry left.\n"
         "curl: (7) Failed to connect to dead port 80 after 0 ms: Could not connect to server\n")),
        ("curl -sS --retry 2 dead", 7,
         "curl: (7) Failed to connect to dead port 80 after 0 ms: Could not connect to server\n"),
        ("curl -sS -m 2 silent", 28, "curl: (28) Connection timed out after 2000 milliseconds\n"),
        ("curl -sS --connect-timeout 3 silent", 28,
         "curl: (28) Connection timed out after 3000 milliseconds\n"),
        ("curl -sS 'backend:99999'", 3,
         "curl: (3) URL rejected: Port number was not a decimal number between 0 and 65535\n"),
        ("curl -sS ftp://backend", 1, 'curl: (1) Protocol "ftp" not supported\n'),
        ("curl -sL 'backend:8080/redirect?location=/hostname'", 0, "two"),
        ("curl -s -d msg=x -G backend:8080/echo", 0, "x"),
        (("curl -g -q -s 'http://backend:8080/dial?request=hostname&protocol=udp&host=10.96.7.7"
         "&port=8081&tries=1'"), 0, '{"responses":["two"]}'),
        ("wget -q -O- -T 2 http://backend", 0, "hello\n"),
        ("wget -qO- nosuch", 1, "wget: bad address 'nosuch'\n"),
        ("wget -q -O - -T 1 http://silent", 1, "wget: download timed out\n"),
        ("wget -qO- dead", 1,
         "wget: can't connect to remote host (10.96.9.9): Connection refused\n"),
        ("wget -qO- backend/none", 1, "wget: server returned error: HTTP/1.1 404 Not Found\n"),
        ("nc -zv backend 80", 0,
         "Connection to backend (10.96.7.7) 80 port [tcp/http] succeeded!\n"),
        ("nc -zv dead 80", 1,
         "nc: connect to dead (10.96.9.9) port 80 (tcp) failed: Connection refused\n"),
        ("nc -zv -w 2 silent 80", 1,
         "nc: connect to silent (10.244.9.9) port 80 (tcp) timed out: Operation in progress\n"),
        ("nc -z nosuch 80", 1,
         'nc: getaddrinfo for host "nosuch" port 80: Name does not resolve\n'),
        ("echo hostName | nc -w 1 -u backend 8081", 0, "two"),
        ("/agnhost connect backend:80", 127, "sh: /agnhost: No such file or directory\n"),
        ("getent hosts backend", 0, f"10.96.7.7       backend.{DOMAIN[:-1]}\n"),
        ("getent hosts dual", 0, f"fd00::8         dual.{DOMAIN[:-1]}\n"),
        ("getent hosts nosuch", 2, ""),
        ("host alias", 0, (f"alias.{DOMAIN[:-1]} is an alias for backend.{DOMAIN}\n"
         f"backend.{DOMAIN[:-1]} has address 10.96.7.7\n")),
        ("host nosuch", 1, "Host nosuch not found: 3(NXDOMAIN)\n"),
        ("dig +short backend.default.svc.cluster.local", 0, "10.96.7.7\n"),
        ("dig +short +search alias", 0, f"backend.{DOMAIN}\n10.96.7.7\n"),
        ("dig +noall +answer +tcp +search backend A", 0, f"backend.{DOMAIN} 300 IN A\t10.96.7.7\n"),
        ("dig +short backend", 0, ""),
        ("dig @nosuch x", 10, "dig: couldn't get address for 'nosuch': not found\n"),
    ],
)  # fmt: skip
def test_outcomes_and_exit_codes(line: str, code: int, output: str) -> None:
    """What the tools print, and what scripts test."""
    got, text, _ = run(line)
    assert text == output
    assert got == code


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("connect backend:80 --timeout=3s", 0, ""),
        ("connect dead:80 --timeout=3s", 1, "REFUSED\n"),
        ("connect silent:80 --timeout=3s", 1, "TIMEOUT\n"),
        (
            "connect silent:80 --timeout=3s --protocol=udp",
            1,
            "TIMEOUT: read udp 10.244.1.5:32770->10.244.9.9:80: i/o timeout\n",
        ),
        ("connect backend:8081 --timeout=3s --protocol=udp", 0, ""),
        ("connect nosuch:80 --timeout=3s", 1, "DNS: lookup nosuch: no such host\n"),
        ("connect nonsense", 1, "UNKNOWN: address nonsense: missing port in address\n"),
        ("dns-suffix", 0, "default.svc.cluster.local,svc.cluster.local,cluster.local"),
        ("dns-server-list", 0, "10.96.0.10"),
    ],
)
def test_agnhost_commands(command: str, code: int, output: str) -> None:
    """The words that conformance suites look for."""
    got, text, _ = run(f"/agnhost {command}", AGNHOST)
    assert (got, text) == (code, output)


def test_curl_v_shows_the_conversation() -> None:
    """Name, addresses, connection, request and answer."""
    code, text, _ = run("curl -v backend")
    assert code == 0
    for line in (
        "* Host backend:80 was resolved.",
        "* IPv4: 10.96.7.7",
        "*   Trying 10.96.7.7:80...",
        "* Connected to backend (10.96.7.7) port 80",
        "> GET / HTTP/1.1",
        "> Host: backend",
        "> User-Agent: curl/8.14.1",
        "< HTTP/1.1 200 OK",
        "< Content-Length: 6",
        "* Connection #0 to host backend left intact",
        "hello",
    ):
        assert f"{line}\n" in text


def test_https_needs_trust_and_a_server_that_speaks_it() -> None:
    """No bytes are encrypted, but the outcomes are those of TLS."""
    assert run("curl -sS https://backend:80")[0] == 60
    code, text, _ = run("curl -sSk https://backend:80")
    assert (code, text) == (35, "curl: (35) TLS connect error: wrong version number\n")
    assert run("curl -sSk https://backend")[0] == 7
    assert "CAfile: /none" in run("curl -sS --cacert /none https://backend:80")[1]


def test_nslookup_speaks_like_bind_or_like_busybox() -> None:
    """BIND searches; busybox searches only names without a dot and then fails as in life."""
    head = "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10#53\n\n"
    answer = f"Name:\tbackend.{DOMAIN[:-1]}\nAddress: 10.96.7.7\n"
    assert run("nslookup backend")[:2] == (0, f"{head}Non-authoritative answer:\n{answer}\n")
    assert run("nslookup nosuch")[:2] == (1, f"{head}** server can't find nosuch: NXDOMAIN\n\n")
    code, text, _ = run("nslookup backend.default", "busybox")
    assert code == 1
    assert text.count("** server can't find backend.default: NXDOMAIN\n\n") == 2
    code, text, _ = run("nslookup backend.default.svc.cluster.local", "busybox")
    assert code == 0
    assert "Address:\t10.96.0.10:53\n\n" in text
    assert answer in text


@pytest.mark.parametrize("image", ["busybox:1.28", "registry.k8s.io/busybox", "alpine:3.8"])
def test_nslookup_of_an_old_busybox_searches_as_the_pages_of_kubernetes_show(image: str) -> None:
    """``busybox:1.28``, which they pin for that: the C library looks names up, dots or not."""
    head = "Server:    10.96.0.10\nAddress 1: 10.96.0.10\n\n"
    found = f"{head}Name:      backend.default\nAddress 1: 10.96.7.7\n"
    assert run("nslookup backend.default", image)[:2] == (0, found)
    failed = f"{head}nslookup: can't resolve 'nosuch'\n"
    assert run("nslookup nosuch", image)[:2] == (1, failed)


def test_bash_connects_without_any_tool() -> None:
    """``/dev/tcp``, where an image has no curl: open, refused, unknown, and bytes both ways."""
    port = "bash -c '(</dev/tcp/backend/80) && echo open || echo closed'"
    assert run(port)[:2] == (0, "open\n")
    code, text, _ = run("bash -c '</dev/tcp/10.244.2.2/81'")
    assert code == 1
    assert text.endswith("bash: /dev/tcp/10.244.2.2/81: Connection refused\n")
    assert "nosuch: Name or service not known" in run("bash -c 'echo >/dev/tcp/nosuch/80'")[1]
    assert run("bash -c 'echo >/dev/tcp/backend/80; echo $?'")[1] == "0\n"


def test_a_silent_dns_server_costs_the_time_of_the_c_library() -> None:
    """Glibc waits 5 s twice, musl 5 s in all; dig 3 x 5 s with a message each."""
    code, text, taken_s = run("curl -sS backend", "debian", dns=False)
    assert (code, text) == (6, "curl: (6) Could not resolve host: backend\n")
    assert taken_s == pytest.approx(10, abs=0.01)
    _, _, taken_s = run("curl -sS backend", "alpine", dns=False)
    assert taken_s == pytest.approx(5, abs=0.01)
    code, text, taken_s = run("dig backend", dns=False)
    assert code == 9
    assert text.count(";; communications error to 10.96.0.10#53: timed out\n") == 3
    assert text.endswith(";; no servers could be reached\n")
    assert taken_s == pytest.approx(15, abs=0.01)


def test_musl_gives_up_in_time_whenever_it_begins() -> None:
    """Its resend time is reached even where seconds in floating point round the wrong way."""
    for begin_ms in (121, 129, 246, 254, 380):
        line = f"sleep 0.{begin_ms}; curl -sS backend"
        assert run(line, "alpine", dns=False)[2] == pytest.approx(5 + begin_ms / 1000, abs=0.01)


def test_dig_prints_the_whole_answer() -> None:
    """Header, flags, sections, statistics."""
    code, text, _ = run("dig backend.default.svc.cluster.local")
    assert code == 0
    assert text.startswith("\n; <<>> DiG 9.18.24 <<>> backend.default.svc.cluster.local\n")
    assert ";; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: " in text
    assert ";; flags: qr rd ra; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1\n" in text
    assert ";backend.default.svc.cluster.local. IN\tA\n" in text
    assert "backend.default.svc.cluster.local. 300 IN A\t10.96.7.7\n" in text
    assert ";; SERVER: 10.96.0.10#53(10.96.0.10) (UDP)\n" in text
    short = run("dig api.example.com")[1]
    assert ";api.example.com.\t\tIN\tA\n" in short
    assert "\napi.example.com.\t300\tIN\tA\t203.0.113.10\n" in short


def test_ping_speaks_like_iputils_or_like_busybox() -> None:
    """Lines, statistics and exit codes."""
    code, text, _ = run("ping -c 2 10.244.2.2")
    assert code == 0
    assert text.startswith("PING 10.244.2.2 (10.244.2.2) 56(84) bytes of data.\n")
    assert "2 packets transmitted, 2 received, 0% packet loss, time 1000ms\n" in text
    code, text, _ = run("ping -c 1 -W 1 10.9.9.9", "busybox")
    assert code == 1
    assert text == (
        "PING 10.9.9.9 (10.9.9.9): 56 data bytes\n\n--- 10.9.9.9 ping statistics ---\n"
        "1 packets transmitted, 0 packets received, 100% packet loss\n"
    )
    assert run("ping nosuch", "busybox")[:2] == (1, "ping: bad address 'nosuch'\n")


def test_ping_sends_each_second_whatever_comes_back() -> None:
    """Three lost packets take two seconds and the wait for the last, ten or what -W says."""

    async def main(env: Env, flags: str) -> tuple[float, str]:
        captured = Captured(env, FakeProcess(FlatNet(), spec("nicolaka/netshoot")))
        await exec_command(captured.env, ["ping", "-c3", *flags.split(), "10.9.9.9"])
        return env.clock.monotonic_ns() / 1e9, captured.text

    for flags, seconds in (("", 12.0), ("-W 2", 4.0), ("-i 0.5 -w 3", 3.0)):
        took_s, text = sim.run(partial(main, flags=flags))
        assert took_s == pytest.approx(seconds)
        lost = f"100% packet loss, time {1000 if '-i' in flags else 2000}ms"
        assert f"3 packets transmitted, 0 received, {lost}\n" in text


def test_two_netcats_talk() -> None:
    """Nc -l in the background, nc in front."""
    line = (
        "nc -l -p 9000 > /tmp/got & sleep 1; echo hi | nc -w 1 127.0.0.1 9000; wait; cat /tmp/got"
    )
    assert run(line)[:2] == (0, "hi\n")


def test_ping_names_the_icmp_error() -> None:
    """What came back is told in iputils' words and counted."""

    class NoRoute(FlatNet):
        async def probe(self, *_: object) -> ProbeAnswer:
            return ProbeAnswer("unreachable", "10.244.1.5", 3.0, code=1)

    async def main(env: Env) -> tuple[int, str]:
        captured = Captured(env, FakeProcess(NoRoute(), spec("nicolaka/netshoot")))
        return await exec_command(captured.env, ["ping", "-c1", "10.1.1.1"]), captured.text

    code, text = sim.run(main)
    assert code == 1
    assert "From 10.244.1.5 icmp_seq=1 Destination Host Unreachable\n" in text
    assert "1 packets transmitted, 0 received, +1 errors, 100% packet loss" in text
