"""Which rule a request meets. The facts of the scenarios of kubernetes-sigs/
ingress-controller-conformance are here, and those of ingress-nginx beside them.
"""

from __future__ import annotations

import pytest

from podwire.l7.route import decide, normalized
from podwire.l7.table import ClassRules, class_rules, flags_of
from tests.unit.l7.objects import (
    endpoint_slice,
    ingress,
    ingress_class,
    nginx,
    path,
    rule,
    service,
    table,
)


def ask(routes, url):
    """The Service (or status) of a URL."""
    scheme, _, rest = url.partition("://")
    host, slash, target = rest.partition("/")
    made = decide(routes, scheme, host, f"{slash or '/'}{target}")
    return made.upstream.service if made.status == 0 else made.status


PATHS = ingress(
    "path-rules",
    rule("exact", path("/foo", "foo-exact:8080", "Exact")),
    rule(
        "prefix",
        path("/foo", "foo-prefix:8080"),
        path("/aaa/bbb", "aaa-bbb:8080"),
        path("/aaa", "aaa:8080"),
    ),
    rule("mixed", path("/foo", "foo-prefix:8080"), path("/foo", "foo-exact:8080", "Exact")),
    rule(
        "trailing",
        path("/aaa/bbb/", "slash-prefix:8080"),
        path("/foo/", "slash-exact:8080", "Exact"),
    ),
)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://exact/foo", "foo-exact"),
        ("http://exact/foo/", 404),
        ("http://exact/FOO", 404),
        ("http://exact/bar", 404),
        ("http://prefix/foo", "foo-prefix"),
        ("http://prefix/foo/", "foo-prefix"),
        ("http://prefix/foo/x", "foo-prefix"),
        ("http://prefix/FOO", 404),
        ("http://prefix/aaa/bbb", "aaa-bbb"),
        ("http://prefix/aaa/bbb/ccc", "aaa-bbb"),
        ("http://prefix/aaa/ccc", "aaa"),
        ("http://prefix/aaaccc", 404),
        ("http://mixed/foo", "foo-exact"),
        ("http://mixed/foo/", "foo-prefix"),
        ("http://trailing/aaa/bbb", "slash-prefix"),
        ("http://trailing/aaa/bbb/", "slash-prefix"),
        ("http://trailing/aaa/bbbx", 404),
        ("http://trailing/foo", 404),
        ("http://trailing/foo/", "slash-exact"),
        ("http://other/foo", 404),
    ],
)
def test_paths_match_by_element_and_exact_ones_come_first(url, wanted):
    """Sixteen scenarios about paths, and some between them."""
    assert ask(table(PATHS), url) == wanted


HOSTS = ingress(
    "host-rules",
    rule("*.foo.com", path("/", "wildcard:8080")),
    rule("foo.bar.com", path("/", "exact:http")),
    tls=[{"hosts": ["foo.bar.com"], "secretName": "tls"}],
    annotations=nginx(ssl_redirect="false"),
)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://foo.bar.com", "exact"),
        ("http://foo.bar.com", "exact"),
        ("http://FOO.bar.com:8080/x", "exact"),
        ("http://foo.bar.com./", "exact"),
        ("http://subdomain.bar.com", 404),
        ("http://bar.foo.com", "wildcard"),
        ("http://baz.bar.foo.com", 404),
        ("http://foo.com", 404),
        ("http://.foo.com", 404),
    ],
)
def test_hosts_match_whole_and_a_wildcard_is_one_label(url, wanted):
    """Six scenarios about hosts; letter case, port and a trailing dot do not matter."""
    assert ask(table(HOSTS), url) == wanted


def test_a_default_backend_without_rules_takes_everything():
    """Whatever the host and path."""
    routes = table(ingress("all", default="echo:8080"))
    for url in ("http://my-host/", "http://my-host/sub-path", "http:///resource"):
        assert ask(routes, url) == "echo"


def test_a_default_backend_beside_rules_takes_what_its_own_hosts_leave():
    """Other hosts still get 404, as ingress-nginx does."""
    routes = table(ingress("i", rule("a", path("/x", "x:8080")), default="rest:8080"))
    assert ask(routes, "http://a/x") == "x"
    assert ask(routes, "http://a/y") == "rest"
    assert ask(routes, "http://b/y") == 404


def test_a_rule_without_host_serves_the_hosts_that_have_none_of_their_own():
    """A host with rules does not fall back to it."""
    routes = table(
        ingress("i", rule("", path("/any", "any:8080")), rule("a", path("/x", "x:8080")))
    )
    assert ask(routes, "http://b/any") == "any"
    assert ask(routes, "http://a/any") == 404


def test_the_older_ingress_keeps_a_path_and_the_newer_is_told():
    """Of the same second, the greater name comes first, as upstream sorts."""
    first = ingress("a", rule("h", path("/p", "old:8080")), created=1)
    second = ingress("b", rule("h", path("/p", "new:8080"), path("/q", "q:8080")), created=2)
    routes = table(second, first)
    assert ask(routes, "http://h/p") == "old"
    assert ask(routes, "http://h/q") == "q"
    assert routes.left_out == (
        ("default/b", 'host "h" and path "/p" is already defined in ingress default/a'),
    )
    same = ingress("b", rule("h", path("/p", "new:8080")), created=1)
    assert ask(table(first, same), "http://h/p") == "new"


def test_implementation_specific_counts_as_prefix():
    """In ingress-nginx it is one."""
    routes = table(ingress("i", rule("h", path("/a", "a:8080", "ImplementationSpecific"))))
    assert ask(routes, "http://h/a/b") == "a"
    assert ask(routes, "http://h/ab") == 404


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize(
    ("spec", "annotations", "why"),
    [
        ({"ingressClassName": "nginx"}, {}, ""),
        ({"ingressClassName": "mine"}, {}, ""),
        ({"ingressClassName": "some-invalid-class-name"}, {}, "is no IngressClass"),
        ({"ingressClassName": "alb"}, {}, "is no IngressClass"),
        ({}, {"kubernetes.io/ingress.class": "nginx"}, ""),
        ({}, {"kubernetes.io/ingress.class": "alb"}, "is not 'nginx'"),
        ({}, {}, "names no IngressClass"),
        ({"ingressClassName": "alb"}, {"kubernetes.io/ingress.class": "nginx"}, "no IngressClass"),
    ],
)
def test_the_class_decides_who_serves(spec, annotations, why):
    """spec.ingressClassName first, then the old annotation; without either nobody."""
    classes = [
        ingress_class("nginx"),
        ingress_class("mine"),
        ingress_class("alb", "ingress.k8s.aws/alb"),
    ]
    found = ClassRules().refused(ingress("i", annotations=annotations, **spec), classes)
    assert (found == "") == (why == "")
    assert why in found


def test_a_controllers_flags_change_whom_it_serves():
    """Another controller, another annotation, or those without class."""
    bare, named = ingress("a"), ingress("b", ingressClassName="mine")
    old = ingress("c", annotations={"kubernetes.io/ingress.class": "inner"})
    classes = [ingress_class("mine", "me.example/inner")]
    for words, wanted in (
        ([], [False, False, False]),
        (["--controller-class=me.example/inner"], [False, True, False]),
        (["--ingress-class=inner"], [False, False, True]),
        (["--watch-ingress-without-class"], [True, False, False]),
    ):
        rules = class_rules(flags_of(words))
        assert [not rules.refused(i, classes) for i in (bare, named, old)] == wanted


# ---------------------------------------------------------------- backends


def upstream(port, *ports, slices=None, **spec):
    i = ingress("i", rule("h", path("/", f"s:{port}")))
    given = [service("s", *ports, **spec)]
    routes = table(i, services=given, slices=slices or [endpoint_slice("s", "10.244.0.1")])
    return decide(routes, "http", "h", "/").upstream


@pytest.mark.parametrize("port", ["8080", "http", "3000"])
def test_a_port_is_found_by_number_name_or_target(port):
    """As ingress-nginx's serviceEndpoints."""
    assert [(e.address, e.port) for e in upstream(port).endpoints] == [("10.244.0.1", 3000)]


def test_only_ready_endpoints_of_the_ports_own_name_count():
    """A second port of the slice is another backend; order is by address."""
    ports = [{"name": "http", "port": 80, "targetPort": "http"},
             {"name": "admin", "port": 81, "targetPort": "admin"}]  # fmt: skip
    slices = [
        endpoint_slice(
            "s", "10.244.0.12", "!10.244.0.3", "10.244.0.4",
            ports=[{"name": "http", "port": 3000, "protocol": "TCP"},
                   {"name": "admin", "port": 4000, "protocol": "TCP"}],
        )
    ]  # fmt: skip
    found = upstream("admin", *ports, slices=slices).endpoints
    assert [(e.address, e.port) for e in found] == [("10.244.0.4", 4000), ("10.244.0.12", 4000)]


def test_what_has_no_endpoints_says_why_and_gives_503():
    """A Service that does not exist, a port it lacks, nothing ready, another name."""
    i = ingress("i", rule("h", path("/", "s:8080")))
    for services, slices, why in (
        ([], [], "Service default/s does not exist"),
        ([service("s", {"port": 81}, {"name": "x", "port": 82})], [],
         "Service default/s has no port 8080; it has 81, 82 (x)"),
        ([service("s")], [endpoint_slice("s", "!10.244.0.1")],
         "Service default/s does not have any active Endpoint"),
        ([service("s", type="ExternalName", externalName="a.b")], [],
         "Service default/s is an ExternalName: not modelled here"),
    ):  # fmt: skip
        made = decide(table(i, services=services, slices=slices), "http", "h", "/")
        assert (made.status, made.reason) == (503, why)


def test_a_resource_backend_is_left_out():
    """And said so."""
    item = {"path": "/", "pathType": "Prefix", "backend": {"resource": {"kind": "B", "name": "b"}}}
    routes = table(ingress("i", rule("h", item)))
    assert ask(routes, "http://h/") == 404
    assert "resource backend is not modelled" in routes.left_out[0][1]


# ---------------------------------------------------------------- TLS


TLS = [{"hosts": ["h"], "secretName": "s"}]


def redirect(scheme, target, *, host="h", certificates=None, **annotations):
    i = ingress("i", rule("h", path("/", "a:8080")), tls=TLS, annotations=nginx(**annotations))
    return decide(table(i, certificates=certificates), scheme, host, target)


def test_plain_requests_for_a_host_with_tls_are_sent_to_https():
    """308, without port; a trailing slash is dropped unless it is to be preserved."""
    made = redirect("http", "/x?y=1", host="h:8080")
    assert (made.status, made.redirect) == (308, "https://h/x?y=1")
    assert redirect("http", "/x/").redirect == "https://h/x"
    assert redirect("http", "/").redirect == "https://h"
    assert redirect("http", "/x/", preserve_trailing_slash="true").redirect == "https://h/x/"
    assert redirect("https", "/x").status == 0
    assert redirect("http", "/x", ssl_redirect="false").status == 0
    assert redirect("http", "/x", ssl_redirect="no idea").status == 308


def test_force_ssl_redirect_needs_no_certificate():
    """TLS may end before the controller."""
    i = ingress("i", rule("h", path("/", "a:8080")), annotations=nginx(force_ssl_redirect="true"))
    assert decide(table(i), "http", "h", "/x").status == 308
    assert decide(table(i), "https", "h", "/x").status == 0


def test_the_certificate_is_the_secrets_when_it_covers_the_host():
    """Else the fake one; a TLS entry without the host counts when its certificate covers it."""
    named = ingress("i", rule("h.x", path("/", "a:8080")),
                    tls=[{"hosts": ["h.x"], "secretName": "s"}])  # fmt: skip
    bare = ingress("i", rule("h.x", path("/", "a:8080")), tls=[{"secretName": "s"}])
    for i, names, wanted in (
        (named, ("h.x",), "default/s"),
        (named, ("*.x",), "default/s"),
        (named, ("other",), ""),
        (named, None, ""),
        (bare, ("h.x",), "default/s"),
        (bare, ("other",), None),
    ):
        certificates = {} if names is None else {"default/s": names}
        assert table(i, certificates=certificates).server("h.x").certificate == wanted


# ---------------------------------------------------------------- rewrites


def rewritten(text, target, pattern, url, **more):
    i = ingress("i", rule("h", path(pattern, "a:8080", "ImplementationSpecific")),
                annotations=nginx(rewrite_target=text, **more))  # fmt: skip
    made = decide(table(i), "http", "h", url)
    assert made.status == 0
    assert made.target == target


def test_rewrite_target_puts_groups_into_another_path():
    """The upstream documentation's example, and what it makes of trailing slashes and queries."""
    for url, wanted in (
        ("/something", "/"),
        ("/something/", "/"),
        ("/something/new?x=1", "/new?x=1"),
    ):
        rewritten("/$2", wanted, "/something(/|$)(.*)", url, use_regex="true")
    rewritten("/fixed", "/fixed", "/old", "/old/and/below")
    rewritten("/$1", "/a%20b", "/x/(.*)", "/x/a%20b", use_regex="true")


def test_one_rewrite_makes_every_path_of_its_host_an_expression():
    """Case-insensitive, a prefix only; the longest is tried first."""
    routes = table(
        ingress("i", rule("h", path("/a", "a:8080")), annotations=nginx(rewrite_target="/")),
        ingress("j", rule("h", path("/abc", "exact:8080", "Exact"))),
    )
    assert ask(routes, "http://h/ABCdef") == "exact"
    assert ask(routes, "http://h/ab") == "a"


def test_an_expression_that_is_none_is_left_out():
    """nginx would not reload for it; here it is told and the others serve."""
    routes = table(
        ingress(
            "i",
            rule("h", path("/a(", "a:8080"), path("/b", "b:8080")),
            annotations=nginx(use_regex="true"),
        )
    )
    assert ask(routes, "http://h/b") == "b"
    assert "invalid expression" in routes.left_out[0][1]


@pytest.mark.parametrize(
    ("target", "path_"),
    [
        ("/a//b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/..", "/"),
        ("/%61%2Fb?c=/d", "/a/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/../a", None),
        ("/%zz", None),
        ("/%00", None),
        ("*", None),
    ],
)
def test_paths_are_compared_as_nginx_normalizes_them(target, path_):
    """Decoded, slashes merged, dots resolved; what nginx answers with 400 is None."""
    assert normalized(target) == path_
