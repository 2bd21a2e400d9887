"""Any watcher's replayed events give the list that its selector would get: the one law of watch."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from tests.rotation import examples

CM = kinds.CONFIG_MAP
NAMES = st.sampled_from(["a", "b", "c"])
NAMESPACES = st.sampled_from(["default", "kube-system"])
LABELS = st.sampled_from(["", "web", "db"])
SELECTIONS = st.fixed_dictionaries(
    {
        "namespace": st.sampled_from(["", "default"]),
        "labelSelector": st.sampled_from(["", "app=web", "app!=web", "app in (web,db)", "!app"]),
        "fieldSelector": st.sampled_from(["", "metadata.name=a", "metadata.namespace=default"]),
    }
)
STEPS = st.one_of(
    st.tuples(st.just("set"), NAMESPACES, NAMES, LABELS, st.integers(0, 3)),
    st.tuples(st.just("delete"), NAMESPACES, NAMES),
    st.tuples(
        st.just("watch"), SELECTIONS, st.sampled_from(["state", "resume", "watchlist", "past"])
    ),
    st.tuples(st.just("past"), SELECTIONS, st.integers(0, 5)),
)


class Replay:
    """What a client that follows a watch believes."""

    def __init__(self, stream: Any, seen: dict[str, Any]) -> None:
        self.stream = stream
        self.seen = seen

    def catch_up(self) -> None:
        while (frame := self.stream.pending()) is not None:
            event = msgspec.json.decode(frame.data)
            meta = event["object"]["metadata"]
            key = f"{meta.get('namespace')}/{meta.get('name')}"
            if event["type"] == "ADDED":
                assert key not in self.seen
                self.seen[key] = event["object"]
            elif event["type"] == "MODIFIED":
                assert key in self.seen
                self.seen[key] = event["object"]
            elif event["type"] == "DELETED":
                gone = self.seen.pop(key)
                assert int(meta["resourceVersion"]) > int(gone["metadata"]["resourceVersion"])


async def listed(w: Any, selection: dict[str, str], **query: str) -> dict[str, Any]:
    options = {k: v for k, v in selection.items() if k != "namespace" and v}
    body = await w.json("GET", CM.path(selection["namespace"]), **options, **query)
    return {f"{i['metadata']['namespace']}/{i['metadata']['name']}": i for i in body["items"]}


@settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(STEPS, max_size=25))
def test_every_replayed_watch_equals_the_list(simulate, steps):
    """Whatever the selector, wherever the watch starts; and the past can be listed as it was."""

    async def story(w):
        watches: list[tuple[dict[str, str], Replay]] = []
        past: list[tuple[int, dict[str, Any]]] = []
        everything = {"namespace": "", "labelSelector": "", "fieldSelector": ""}
        for step in steps:
            if step[0] == "set":
                await _set(w, *step[1:])
            elif step[0] == "delete":
                await w.raw("DELETE", CM.path(step[1], step[2]))
            elif step[0] == "watch":
                watches.append((step[1], await _watch(w, step[1], step[2], past)))
            elif past:
                revision, state = past[-1 - step[2] % len(past)]
                exact = {"resourceVersion": str(revision), "resourceVersionMatch": "Exact"}
                shown = await listed(w, step[1], **exact)
                wanted = step[1]["namespace"]
                state = {k: v for k, v in state.items() if not wanted or k.startswith(wanted)}
                assert all(state[key] == obj for key, obj in shown.items())
                if not step[1]["labelSelector"] and not step[1]["fieldSelector"]:
                    assert shown == state
            past.append((await w.store.revision(), await listed(w, everything)))
            for selection, replay in watches:
                replay.catch_up()
                assert replay.seen == await listed(w, selection)

    simulate(story)


async def _set(w: Any, namespace: str, name: str, label: str, value: int) -> None:
    labels = {"app": label} if label else {}
    body = {"metadata": {"name": name, "labels": labels}, "data": {"v": str(value)}}
    if (await w.raw("POST", CM.path(namespace), body)).status == 409:
        answer = await w.raw("PUT", CM.path(namespace, name), body)
        assert answer.status == 200


async def _watch(
    w: Any, selection: dict[str, str], start: str, past: list[tuple[int, dict[str, Any]]]
) -> Replay:
    options = {k: v for k, v in selection.items() if k != "namespace" and v}
    seen: dict[str, Any] = {}
    if start == "resume":
        seen = await listed(w, selection)
        options["resourceVersion"] = str(await w.store.revision())
    elif start == "past" and past:
        options["resourceVersion"] = str(past[len(past) // 2][0])
        exact = {"resourceVersion": options["resourceVersion"], "resourceVersionMatch": "Exact"}
        seen = await listed(w, selection, **exact)
    elif start == "watchlist":
        options |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    answer = await w.raw("GET", CM.path(selection["namespace"]), watch="true", **options)
    return Replay(answer.stream, seen)
