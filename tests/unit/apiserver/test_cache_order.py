"""The cache's lists: in key order whatever changed, unchanged once given away; views bounded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.apiserver.cache import entry as entries
from podwire.apiserver.cache.kind import KindCache
from podwire.store import Event, KeyValue
from tests.rotation import examples

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "list"]), st.integers(0, 400)), max_size=200
)


def changed(
    name, revision, value=b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}'
):
    """A store event that puts a ConfigMap, or with value None deletes it."""
    key = f"/registry/configmaps/default/{name}"
    kv = None if value is None else KeyValue(key, value, revision, revision, 1)
    return Event(revision, key, kv, None)


@settings(max_examples=examples(150), deadline=None)
@given(STEPS, st.integers(0, 300))
def test_a_list_is_in_key_order_and_stays_as_it_was(steps, there):
    """Few changes are worked into the last list, many sort anew: nobody can tell."""
    cache = KindCache(kinds.CONFIG_MAP, "/registry/configmaps/", {})
    model, given_away, revision = {}, [], 1
    steps = [("put", i) for i in range(there)] + [("list", 0)] + steps
    for what, number in steps:
        revision += 1
        name = f"cm-{number:03}"
        if what == "put":
            cache.apply(changed(name, revision))
            model[name] = revision
        elif what == "delete":
            cache.apply(changed(name, revision, None))
            model.pop(name, None)
        else:
            found = cache.entries("default")
            assert [(e.name, e.revision) for e in found] == sorted(model.items())
            assert found == cache.entries()
            given_away.append((found, sorted(model.items())))
    for found, then in given_away:
        assert [(e.name, e.revision) for e in found] == then


def test_views_are_kept_for_the_latest_only(monkeypatch):
    """What was asked for long ago is decoded anew; both views are equal."""
    monkeypatch.setattr(entries, "VIEWS", 3)
    cache = KindCache(kinds.CONFIG_MAP, "/registry/configmaps/", {})
    for number in range(10):
        cache.apply(changed(f"cm-{number}", number + 2))
    found = cache.entries()
    views = [entry.view for entry in found]
    assert [entry.viewed is not None for entry in found] == [False] * 7 + [True] * 3
    assert found[0].view == views[0]
    assert found[0].view is found[0].view
    assert len(cache.splice.viewed) == 3
