"""Requests leave nothing that only a collection of garbage could free."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

PODS = "/api/v1/namespaces/default/pods"


def _pod(name):
    spec = {"containers": [{"name": "c", "image": "nginx", "env": [{"name": "A", "value": "1"}]}]}
    return {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}


@pytest.mark.parametrize(
    ("what", "status"),
    [("create", 201), ("refused", 409), ("patch", 200), ("get", 200), ("delete", 200)],
)
def test_a_request_makes_no_cyclic_garbage(simulate, what, status):
    """Then collections find nothing, and the oldest generation need hardly ever be walked."""

    async def story(w):
        async def ask(i):
            if what == "create":
                return (await w.raw("POST", PODS, _pod(f"p{i}"))).status
            if what == "refused":
                return (await w.raw("POST", PODS, _pod("taken"))).status
            if what == "patch":
                body = {"metadata": {"labels": {"app": f"web{i}"}}}
                kind = "application/merge-patch+json"
                return (await w.raw("PATCH", f"{PODS}/taken", body, content_type=kind)).status
            if what == "get":
                return (await w.raw("GET", f"{PODS}/taken")).status
            return (await w.raw("DELETE", f"{PODS}/gone{i}", gracePeriodSeconds="0")).status

        assert (await w.raw("POST", PODS, _pod("taken"))).status == 201
        for i in range(20):
            assert (await w.raw("POST", PODS, _pod(f"gone{i}"))).status == 201
        await ask(0)  # what is made once, at first use
        while gc.collect():
            pass  # what other tests left, and what its finalizers let go of
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            statuses = [await ask(i) for i in range(1, 20)]
            assert statuses == [status] * 19
            gc.collect()
            found = Counter(type(each).__qualname__ for each in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert not found

    simulate(story)
