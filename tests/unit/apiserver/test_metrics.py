"""/metrics and the health endpoints, as scrapers and people read them."""

from __future__ import annotations

import re

from podwire.api import kinds

PODS = kinds.POD.path("default")
CM = kinds.CONFIG_MAP.path("default")
POD = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def scraped(w):
    """Values by name and labels (as one text)."""
    answer = await w.raw("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    assert len(lines) == len(dict.fromkeys(lines)), "a series is told once"
    return {
        found[1]: float(found[2])
        for line in lines
        if not line.startswith("#") and (found := re.fullmatch(r"(\S+) (\S+)", line))
    }


def total(verb, code, scope, resource="pods", **more):
    """The name of a series of apiserver_request_total."""
    labels = {
        "code": str(code), "component": "apiserver", "dry_run": "", "group": "",
        "resource": resource, "scope": scope, "subresource": "", "verb": verb, "version": "v1",
        **more,
    }  # fmt: skip
    listed = ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))
    return f"apiserver_request_total{{{listed}}}"


def test_requests_are_counted_by_verb_resource_scope_and_code(simulate):
    """As upstream: LIST apart from GET, APPLY apart from PATCH, errors by their code."""

    async def story(w):
        await w.raw("POST", PODS, POD)
        await w.raw("POST", PODS, POD)
        await w.raw("POST", PODS, POD, dryRun="All")
        await w.raw("GET", f"{PODS}/a")
        await w.raw("GET", f"{PODS}/b")
        await w.raw("GET", PODS)
        await w.raw("GET", "/api/v1/pods")
        found = await scraped(w)
        assert found[total("POST", 201, "resource")] == 1
        assert found[total("POST", 409, "resource")] == 1
        assert found[total("POST", 409, "resource", dry_run="All")] == 1
        assert found[total("GET", 200, "resource")] == 1
        assert found[total("GET", 404, "resource")] == 1
        assert found[total("LIST", 200, "namespace")] == 1
        assert found[total("LIST", 200, "cluster")] == 1
        assert found['apiserver_current_inflight_requests{request_kind="readOnly"}'] == 0

    simulate(story)


def test_histograms_are_cumulative_and_sizes_are_those_of_bodies(simulate):
    """Every bucket holds what the smaller ones hold; a list is measured once it was read."""

    async def story(w):
        await w.raw("POST", PODS, POD)
        size = len((await w.raw("GET", PODS)).body)
        found = await scraped(w)
        labels = 'component="apiserver",group="",%sresource="pods",scope="namespace"'
        tail = ',subresource="",verb="LIST",version="v1"}'
        sums = f"apiserver_response_sizes_sum{{{labels % ''}{tail}"
        assert found[sums] == size
        buckets = [
            value
            for name, value in found.items()
            if name.startswith("apiserver_request_duration_seconds_bucket")
            and 'verb="LIST"' in name
            and 'resource="pods"' in name
        ]
        assert len(buckets) == 24
        assert buckets == sorted(buckets)
        assert buckets[-1] == 1
        stored = 'etcd_request_duration_seconds_count{group="",operation="create",resource="pods"}'
        assert found[stored] == 1

    simulate(story)


def test_objects_and_watches_are_told_as_they_are(simulate):
    """A watch runs until it ends; what it delivered stays counted."""
    events = 'apiserver_watch_events_total{group="",kind="ConfigMap",version="v1"}'
    running = (
        'apiserver_longrunning_requests{component="apiserver",group="",resource="configmaps",'
        'scope="namespace",subresource="",verb="WATCH",version="v1"}'
    )

    async def story(w):
        await w.raw("POST", CM, {"metadata": {"name": "a"}})
        before = await scraped(w)
        stream = (await w.raw("GET", CM, watch="1")).stream
        await w.raw("POST", CM, {"metadata": {"name": "b"}})
        assert len(stream.take(10**6)) == 2
        found = await scraped(w)
        assert found[running] == 1
        assert found[events] == 2
        objects = 'apiserver_storage_objects{resource="configmaps"}'
        assert found[objects] == before[objects] + 1
        await stream.aclose()
        found = await scraped(w)
        assert found[running] == 0
        assert found[events] == 2
        watches = total("WATCH", 200, "namespace", "configmaps")
        assert found[watches] == 1

    simulate(story)


def test_a_process_tells_what_it_uses_only_where_it_may(simulate):
    """A simulation does not; the numbers are those of /proc otherwise."""

    async def story(w):
        assert not any(name.startswith("process_") for name in await scraped(w))
        w.server.metrics.process = lambda: {"process_open_fds": 7}
        assert (await scraped(w))["process_open_fds"] == 7

    simulate(story)


def test_health_is_told_as_upstream_tells_it(simulate):
    """verbose, exclude (also of what is not there), single checks, failures without reasons."""

    async def story(w):
        checks = list(w.server.checks)
        verbose = (await w.raw("GET", "/readyz", verbose="")).body.decode()
        assert verbose == "".join(f"[+]{name} ok\n" for name in checks) + "readyz check passed\n"
        w.server.checks["informer-sync"] = lambda _endpoint: "a secret reason"
        failing = await w.raw("GET", "/livez")
        assert failing.status == 500
        assert b"[-]informer-sync failed: reason withheld\n" in failing.body
        assert failing.body.endswith(b"livez check failed\n")
        one = await w.raw("GET", "/livez/informer-sync")
        assert (one.status, one.body) == (500, b"internal server error: a secret reason\n")
        excluded = await w.raw("GET", "/livez", exclude="informer-sync", verbose="true")
        assert b"[+]informer-sync excluded: ok\n" in excluded.body
        unknown = await w.raw("GET", "/healthz/nothing")
        assert (unknown.status, unknown.body) == (404, b"404 page not found\n")
        del w.server.checks["informer-sync"]
        odd = (await w.raw("GET", "/livez", exclude="nothing", verbose="true")).body
        warning = b'cannot be excluded: no matches for "nothing"\n'
        assert warning in odd
        assert (await w.raw("GET", "/livez/ping")).body == b"ok"

    simulate(story)
