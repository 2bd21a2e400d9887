"""Priority and fairness as clients meet it: who waits, who is told to come again, who never is."""

from __future__ import annotations

import asyncio
from typing import Any

from podwire.api import kinds
from podwire.apiserver.admission import Chain, Plugin
from podwire.client.counters import User
from podwire.runtime.tasks import Nursery

CONFIG_MAP = kinds.CONFIG_MAP
FLOW = "flowcontrol.apiserver.k8s.io/v1"
SCHEMA, LEVEL = kinds.named(FLOW, "FlowSchema"), kinds.named(FLOW, "PriorityLevelConfiguration")
USERS = [{"kind": "Group", "group": {"name": "system:authenticated"}}]
EVERYTHING = {
    "subjects": USERS,
    "resourceRules": [{
        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
    }],
}  # fmt: skip


def user(name: str) -> User:
    return User(name, ("system:authenticated",))


async def level(w, name: str, shares: int, **queuing: int) -> None:
    """A level and a schema that sends every ordinary user there."""
    response: dict[str, Any] = {"type": "Queue", "queuing": queuing}
    limited = {"nominalConcurrencyShares": shares, "limitResponse": response,
               "borrowingLimitPercent": 0}  # fmt: skip
    await w.client.create(LEVEL, {
        "metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited},
    })  # fmt: skip
    await w.client.create(SCHEMA, {
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": name}, "matchingPrecedence": 500,
            "distinguisherMethod": {"type": "ByUser"}, "rules": [EVERYTHING],
        },
    })  # fmt: skip


def slow(w, seconds: float) -> None:
    """Every create takes so long."""

    async def wait(_review) -> None:
        await asyncio.sleep(seconds)

    w.server.admission = Chain([Plugin("slow", wait, kinds=(CONFIG_MAP,), operations=("CREATE",))])


async def made(w, name: str, who: str, told: dict[str, list[tuple[int, float]]]) -> None:
    began = w.env.clock.monotonic_ns()
    body = {"metadata": {"name": name}}
    answer = await w.raw("POST", CONFIG_MAP.path("default"), body, user=user(who))
    took_s = (w.env.clock.monotonic_ns() - began) / 1e9
    told.setdefault(who, []).append((answer.status, took_s))


def test_a_flood_waits_in_its_own_queues_and_another_user_does_not(simulate):
    """What no queue has room for is answered 429; seats of the level bound what is under way."""

    async def story(w):
        await level(w, "few", 5, queues=64, handSize=6, queueLengthLimit=10)
        slow(w, 1)
        told: dict[str, list[tuple[int, float]]] = {}
        async with Nursery() as nursery:
            for number in range(100):
                nursery.start(made(w, f"a{number}", "a", told), name="a")
            await asyncio.sleep(0.1)
            await made(w, "b", "b", told)
        assert w.server.flowcontrol.states["few"].limits.nominal == 5
        assert told["b"] == [(201, told["b"][0][1])]
        assert told["b"][0][1] < 3  # two rounds of those that run
        codes = [code for code, _ in told["a"]]
        assert codes.count(201) == 5 + 6 * 10
        assert codes.count(429) == 100 - 65
        assert max(took for _, took in told["a"]) > 10

    simulate(story, max_requests_inflight=10, max_mutating_requests_inflight=0)


def test_who_waits_too_long_is_told_to_come_again(simulate):
    """After a quarter of the request's time, with Retry-After, as plain text."""

    async def story(w):
        await level(w, "one", 5, queues=1, handSize=1, queueLengthLimit=10)
        slow(w, 20)
        told: dict[str, list[tuple[int, float]]] = {}
        async with Nursery() as nursery:
            for number in range(5):
                nursery.start(made(w, f"a{number}", "a", told), name="a")
            await asyncio.sleep(0.1)
            began = w.env.clock.monotonic_ns()
            answer = await w.raw(
                "POST", CONFIG_MAP.path("default"), {"metadata": {"name": "b"}}, user=user("b")
            )
            assert (w.env.clock.monotonic_ns() - began) / 1e9 > 14.9
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.body == b"Too many requests, please try again later.\n"
        assert [code for code, _ in told["a"]] == [201] * 5
        metrics = w.server.metrics.text(w.server)
        assert (
            'apiserver_flowcontrol_rejected_requests_total{flow_schema="one",'
            'priority_level="one",reason="time-out"} 1'
        ) in metrics

    simulate(story, max_requests_inflight=10, max_mutating_requests_inflight=0)


def test_answers_tell_which_schema_and_level_they_came_by(simulate):
    """By uid, on errors too; and on a GET that is answered at once."""

    async def story(w):
        await level(w, "few", 5, queues=8, handSize=2, queueLengthLimit=10)
        schema = w.server.caches.of(SCHEMA).get("", "few").view.metadata.uid
        at = CONFIG_MAP.path("default", "m")
        answer = await w.raw("GET", at, user=user("a"))
        assert (answer.status, answer.headers["x-kubernetes-pf-flowschema-uid"]) == (404, schema)
        await w.config_map("m")
        found = await w.raw("GET", at, user=user("a"))
        assert found.headers["x-kubernetes-pf-flowschema-uid"] == schema
        assert "x-kubernetes-pf-prioritylevel-uid" in found.headers
        dump = await w.raw("GET", "/debug/api_priority_and_fairness/dump_priority_levels")
        rows = [line.split(",")[0] for line in dump.body.decode().splitlines()]
        assert rows == ["PriorityLevelName", "catch-all", "exempt", "few"]

    simulate(story)


def test_administrators_and_those_that_were_made_exempt_never_wait(simulate):
    """system:masters is; a level that is gone serves those who wait in it, and nobody else."""

    async def story(w):
        await level(w, "one", 5, queues=1, handSize=1, queueLengthLimit=50)
        slow(w, 1)
        told: dict[str, list[tuple[int, float]]] = {}
        async with Nursery() as nursery:
            for number in range(20):
                nursery.start(made(w, f"a{number}", "a", told), name="a")
            await asyncio.sleep(0.1)
            began = w.env.clock.monotonic_ns()
            await w.config_map("mine")
            assert (w.env.clock.monotonic_ns() - began) / 1e9 < 1.1
            await w.client.delete(LEVEL, "one", "")
            answer = await w.raw("GET", CONFIG_MAP.path("default"), user=user("c"))
            assert "x-kubernetes-pf-flowschema-uid" not in answer.headers  # catch-all, no object
        assert [code for code, _ in told["a"]] == [201] * 20

    simulate(story, max_requests_inflight=10, max_mutating_requests_inflight=0)


def test_levels_lend_each_other_seats(simulate):
    """A busy level gets what an idle one may give."""

    async def story(w):
        await level(w, "busy", 10, queues=8, handSize=2, queueLengthLimit=50)
        body = {"spec": {"limited": {"borrowingLimitPercent": 100}}}
        merge = "application/merge-patch+json"
        await w.json("PATCH", LEVEL.path("", "busy"), body, content_type=merge)
        idle = {
            "nominalConcurrencyShares": 15, "lendablePercent": 80,
            "limitResponse": {"type": "Reject"},
        }  # fmt: skip
        await w.client.create(LEVEL, {
            "metadata": {"name": "idle"}, "spec": {"type": "Limited", "limited": idle},
        })  # fmt: skip
        slow(w, 1)
        told: dict[str, list[tuple[int, float]]] = {}
        async with Nursery() as nursery:
            for number in range(150):
                nursery.start(made(w, f"a{number}", "a", told), name="a")
                await asyncio.sleep(0.2)
        states = w.server.flowcontrol.states
        assert states["busy"].limits.nominal == 10
        assert states["idle"].limits.nominal == 15
        assert states["busy"].demand.high_water >= 5

        async with Nursery() as nursery:
            for number in range(100):
                nursery.start(made(w, f"b{number}", "a", told), name="b")
            await asyncio.sleep(10.5)
            assert states["busy"].queues.limit > 10
            assert states["idle"].queues.limit < 15

    simulate(story, max_requests_inflight=30, max_mutating_requests_inflight=0)


def test_without_fairness_two_plain_limits_hold(simulate):
    """One for reads and one for writes; administrators pass."""

    async def story(w):
        slow(w, 1)
        told: dict[str, list[tuple[int, float]]] = {}
        async with Nursery() as nursery:
            for number in range(5):
                nursery.start(made(w, f"a{number}", "a", told), name="a")
            await asyncio.sleep(0.1)
            assert (await w.raw("GET", CONFIG_MAP.path("default"), user=user("a"))).status == 200
            await w.config_map("mine")
        assert sorted(code for code, _ in told["a"]) == [201, 201, 429, 429, 429]

    simulate(
        story, enable_priority_and_fairness=False, max_requests_inflight=2,
        max_mutating_requests_inflight=2,
    )  # fmt: skip


def test_lists_of_what_is_never_stored_take_a_seat_too(simulate):
    """Metrics have no cache whose size could be asked for."""

    async def story(w):
        answer = await w.raw("GET", "/apis/metrics.k8s.io/v1beta1/nodes")
        assert answer.status == 200

    simulate(story)
