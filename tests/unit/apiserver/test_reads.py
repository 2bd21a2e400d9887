"""What is answered at once is what ``handle`` would have answered."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.apiserver.server import DirectApi
from podwire.client.counters import ANONYMOUS, Request, User
from tests.rotation import examples
from tests.unit.apiserver.conftest import ADMIN

COLLECTIONS = (
    "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/other/configmaps",
    "/api/v1/namespaces", "/api/v1/configmaps", "/api/v1/namespaces/default",
    "/api/v1/namespaces/default/endpoints", "/apis/apps/v1/namespaces/default/deployments",
    "/api/v1/watch/namespaces/default/configmaps", "/api/v1/namespaces/default/configmaps/one",
    "/apis/nothing/v1/namespaces/default/things", "/api/v1", "/api", "", "/openapi/v3",
)  # fmt: skip
NAMES = ("one", "default", "status", "finalize", "nobody", "configmaps", "a%2Fb", "", "v1")
ACCEPTS = (
    "", "application/json", "application/json, */*", "*/*", "application/yaml", "text/html",
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf,application/json",
)  # fmt: skip
HEADERS: tuple[dict[str, str], ...] = (
    {}, {"user-agent": "curl/8.0"}, {"user-agent": "kubectl/v1.37.1"},
    {"impersonate-user": "somebody"}, {"impersonate-group": "some"},
)  # fmt: skip
QUERIES = ((), (("pretty", "true"),), (("resourceVersion", "0"),), (("watch", "1"),))
USERS = (ADMIN, User("nobody", ()), ANONYMOUS, None)

USUAL: tuple[Any, ...] = ("GET", COLLECTIONS[0], "one", "", {}, (), ADMIN)
OTHER = (("HEAD", "DELETE"), COLLECTIONS, NAMES, ACCEPTS, HEADERS, QUERIES, USERS)


@st.composite
def requests(draw):
    """A plain GET, save for two things of which one may be another."""
    chosen = list(USUAL)
    for _ in range(2):
        which = draw(st.integers(0, len(USUAL) - 1))
        chosen[which] = draw(st.sampled_from(OTHER[which]))
    method, folder, name, accept, headers, query, user = chosen
    asked = {"accept": accept, **headers} if accept else headers
    return Request(method, f"{folder}/{name}", query, asked, b"", user)


async def held_together(w, asked):
    """Every answer given at once is that of ``handle``."""
    for request in asked:
        found = w.server.reads.answer(request)
        if found is not None:
            expected = await w.server.handle(request)
            assert (found.status, found.headers, found.body) == (
                expected.status, expected.headers, expected.body,
            )  # fmt: skip


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(requests(), min_size=20, max_size=60))
def test_an_answer_given_at_once_is_the_answer(simulate, asked):
    async def story(w):
        await w.config_map("one")
        endpoints = {"metadata": {"name": "one"}}
        await w.client.create(kinds.named("v1", "Endpoints"), endpoints, "default")
        await held_together(w, asked)

    simulate(story)


@pytest.mark.parametrize("accept", ["", "application/json", "application/json, */*"])
def test_a_plain_get_needs_no_waiting(simulate, accept):
    """An object that is there, in a cache as new as the store; the second time its place is
    known, and both count in the metrics.
    """

    async def story(w):
        await w.config_map("one")
        path = "/api/v1/namespaces/default/configmaps/one"
        request = Request("GET", path, (), {"accept": accept} if accept else {}, b"", ADMIN)
        for _ in range(2):
            assert DirectApi(w.server, ADMIN).at_once(request).status == 200
        counted = (await w.raw("GET", "/metrics")).body.decode()
        assert 'apiserver_request_total{code="200"' in counted
        line = next(
            line for line in counted.splitlines()
            if line.startswith("apiserver_request_total{") and 'resource="configmaps"' in line
            and 'verb="GET"' in line
        )  # fmt: skip
        assert line.endswith(" 2")

    simulate(story)


def test_a_cache_that_lags_is_waited_for(simulate):
    """Only a state as new as the store's is shown without asking."""

    async def story(w):
        await w.config_map("one")
        path = "/api/v1/namespaces/default/configmaps/one"
        request = Request("GET", path, (), {}, b"", ADMIN)
        assert w.server.reads.answer(request) is not None
        w.server.caches.revision -= 1
        assert w.server.reads.answer(request) is None
        w.server.caches.revision += 1
        await w.client.delete(kinds.CONFIG_MAP, "one", "default")
        assert w.server.reads.answer(request) is None

    simulate(story)


def test_what_is_remembered_of_requests_is_bounded(simulate):
    """Neither many paths and headers nor long ones fill the memory, whoever asks."""

    async def story(w):
        await w.config_map("one")
        reads = w.server.reads
        for i in range(5000):
            headers = {"accept": "application/json", "user-agent": f"client-{i}"}
            path = f"/api/v1/namespaces/n{i}/configmaps/one"
            reads.answer(Request("GET", path, (), headers, b"", ANONYMOUS))
            default = "/api/v1/namespaces/default/configmaps/one"
            assert reads.answer(Request("GET", default, (), headers, b"", ADMIN)) is not None
        held = len(reads._folders), len(reads._plain)
        assert 0 < held[0] <= 4096
        assert 0 < held[1] <= 256
        long = "x" * 1000
        path = f"/api/v1/namespaces/{long}/configmaps/one"
        reads.answer(Request("GET", path, (), {}, b"", ANONYMOUS))
        default = Request("GET", COLLECTIONS[0] + "/one", (), {"user-agent": long}, b"", ADMIN)
        assert reads.answer(default) is not None
        assert all(long not in folder for folder in reads._folders)
        assert all(long not in "".join(asked) for asked in reads._plain)

    simulate(story)
