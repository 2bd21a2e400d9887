"""The status object, and the patch that carries its changes."""

from podwire.api import kinds, strategic
from podwire.api.schema import type_of
from podwire.api.views import Container, ObjectMeta, Pod, PodSpec
from podwire.kubelet.core import RUNNING, Exit
from podwire.kubelet.podstatus import PodFacts, changes, new_records, pod_status

POD = Pod(
    metadata=ObjectMeta(name="p", namespace="default", uid="u"),
    spec=PodSpec(containers=[Container(name="c", image="nginx")]),
)


def merged(status, patch):
    return strategic.merge(type_of(kinds.POD), {"status": status}, {"status": patch})["status"]


def shown(status):
    """A status as it is stored: nulls are absent."""
    if isinstance(status, dict):
        return {k: shown(v) for k, v in status.items() if v is not None}
    return [shown(x) for x in status] if isinstance(status, list) else status


def test_the_patch_of_two_statuses_turns_the_one_into_the_other():
    """Also when a reason vanishes, an address changes and somebody else's condition is there."""
    records = new_records(POD.spec)
    facts = PodFacts(host_ips=("192.168.0.11",), start_time="t0")
    one = pod_status(POD, facts, records, {}, "t1")
    foreign = {"type": "DisruptionTarget", "status": "True"}
    stored = shown({**one, "conditions": [*one["conditions"], foreign]})
    for address in ("10.244.0.2", "10.244.0.9"):
        facts.pod_ips, facts.sandbox_ready = (address,), True
        record = records["c"]
        record.state, record.started, record.ready = RUNNING, True, True
        since = {c["type"]: (c["status"], c["lastTransitionTime"]) for c in one["conditions"]}
        two = pod_status(POD, facts, records, since, "t2")
        stored = merged(stored, changes(one, two))
        conditions = [c for c in stored["conditions"] if c != foreign]
        assert foreign in stored["conditions"]
        assert {**stored, "conditions": conditions} == shown(two)
        one = two


def test_only_what_changed_is_sent():
    """An unchanged status is no request at all."""
    records = new_records(POD.spec)
    facts = PodFacts(host_ips=("192.168.0.11",), start_time="t0")
    one = pod_status(POD, facts, records, {}, "t1")
    same = pod_status(
        POD, facts, records, {c["type"]: (c["status"], "t1") for c in one["conditions"]}, "t2"
    )
    assert changes(one, same) == {}
    facts.sandbox_ready = True
    two = pod_status(POD, facts, records, {}, "t1")
    (condition,) = changes(one, two)["conditions"]
    assert condition["type"] == "PodReadyToStartContainers"


def test_a_container_shows_its_newest_end_and_the_one_before():
    """state and lastState through a crash, a back-off and a restart."""
    records = new_records(POD.spec)
    facts = PodFacts(host_ips=("h",), sandbox_ready=True, pod_ips=("10.244.0.2",))
    record = records["c"]

    def look():
        status = pod_status(POD, facts, records, {}, "t")["containerStatuses"][0]
        state = {k: v.get("exitCode", v.get("reason")) for k, v in status["state"].items()}
        last = {k: v.get("exitCode") for k, v in status["lastState"].items()}
        return state, last

    assert look() == ({"waiting": "ContainerCreating"}, {})
    record.state, record.exit = "terminated", Exit(1, "Error")
    assert look() == ({"terminated": 1}, {})
    record.state, record.reason = "waiting", "CrashLoopBackOff"
    assert look() == ({"waiting": "CrashLoopBackOff"}, {"terminated": 1})
    record.state = "running"
    assert look() == ({"running": None}, {"terminated": 1})
    record.state, record.last, record.exit = "terminated", record.exit, Exit(2, "Error")
    assert look() == ({"terminated": 2}, {"terminated": 1})
    record.state = "waiting"
    facts.over = True
    assert look() == ({"terminated": 2}, {"terminated": 1})
