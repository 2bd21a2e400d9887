"""Which container starts next, what the pod is called meanwhile, and when things are retried."""

import pytest

from podwire.api.views import Container, PodSpec, ResourceRequirements
from podwire.kubelet.core import (
    NS,
    RUNNING,
    TERMINATED,
    Backoff,
    Exit,
    Plan,
    ProbeCounter,
    Record,
    Records,
    conditions,
    phase,
    plan,
    qos_class,
)


def spec(mains="a", inits="", sidecars="", policy="Always"):
    return PodSpec(
        containers=[Container(name=n) for n in mains],
        init_containers=[Container(name=n, restart_policy="Always") for n in sidecars]
        + [Container(name=n) for n in inits],
        restart_policy=policy,
    )


def records(**states) -> Records:
    """``a="running"``, ``a="new"`` or ``a=3`` (exited with 3)."""
    made = {}
    for name, state in states.items():
        record = Record(name, "image")
        if state == "running":
            record.state, record.started, record.ready = RUNNING, True, True
        elif state != "new":
            record.state = TERMINATED
            record.exit = Exit(state, "Completed" if state == 0 else "Error")
        made[name] = record
    return made


@pytest.mark.parametrize(
    ("case", "states", "expected"),
    [
        (spec("ab"), {"a": "new", "b": "new"}, Plan(("a", "b"))),
        (spec("ab"), {"a": "running", "b": "new"}, Plan(("b",))),
        (spec("ab"), {"a": "running", "b": "running"}, Plan()),
        (spec("a"), {"a": 0}, Plan(("a",))),
        (spec("a", policy="OnFailure"), {"a": 0}, Plan(over=True)),
        (spec("a", policy="OnFailure"), {"a": 1}, Plan(("a",))),
        (spec("a", policy="Never"), {"a": 1}, Plan(over=True)),
        (spec("ab", policy="Never"), {"a": 1, "b": "running"}, Plan()),
        (spec("a", "ij"), {"i": "new", "j": "new", "a": "new"}, Plan(("i",))),
        (spec("a", "ij"), {"i": "running", "j": "new", "a": "new"}, Plan()),
        (spec("a", "ij"), {"i": 0, "j": "new", "a": "new"}, Plan(("j",))),
        (spec("a", "ij"), {"i": 0, "j": 0, "a": "new"}, Plan(("a",))),
        (spec("a", "i"), {"i": 7, "a": "new"}, Plan(("i",))),
        (spec("a", "i", policy="Never"), {"i": 7, "a": "new"}, Plan(over=True)),
        (spec("a", "", "s"), {"s": "new", "a": "new"}, Plan(("s",))),
        (spec("a", "", "s"), {"s": "running", "a": "new"}, Plan(("a",))),
    ],
)
def test_the_next_containers_to_start_follow_order_and_restart_policy(case, states, expected):
    """Init containers one by one, sidecars as soon as the one before has started, then mains."""
    assert plan(case, records(**states), was_initialized=False) == expected


def test_a_crashed_sidecar_restarts_without_holding_up_the_main_containers():
    """Once the pod was initialized, init containers are history and sidecars are peers."""
    case = spec("a", "i", "s")
    found = plan(case, records(s=1, i=0, a=1), was_initialized=True)
    assert found == Plan(("s", "a"))


@pytest.mark.parametrize(
    ("case", "states", "over", "expected"),
    [
        (spec("ab"), {"a": "running", "b": "new"}, False, "Pending"),
        (spec("ab"), {"a": "running", "b": "running"}, False, "Running"),
        (spec("ab"), {"a": "running", "b": 1}, False, "Running"),
        (spec("a"), {"a": 1}, False, "Running"),
        (spec("a"), {"a": 0}, True, "Succeeded"),
        (spec("a"), {"a": 137}, True, "Failed"),
        (spec("a", policy="Never"), {"a": 0}, False, "Running"),
        (spec("a", policy="Never"), {"a": 0}, True, "Succeeded"),
        (spec("ab", policy="Never"), {"a": 0, "b": 2}, True, "Failed"),
        (spec("a", policy="OnFailure"), {"a": 2}, False, "Running"),
        (spec("a", "", "s"), {"s": 1, "a": 0}, True, "Succeeded"),
        (spec("a", "i"), {"i": "running", "a": "new"}, False, "Pending"),
        (spec("a", "i"), {"i": 1, "a": "new"}, False, "Pending"),
        (spec("a", "i", policy="Never"), {"i": 1, "a": "new"}, True, "Failed"),
        (spec("a"), {"a": "new"}, True, "Failed"),
    ],
)
def test_the_phase_sums_up_the_containers(case, states, over, expected):
    """Documentation "Pod phase"; no phase is final while anything may still run."""
    assert phase(case, records(**states), over=over) == expected


def test_conditions_name_the_containers_that_hold_the_pod_back():
    """The messages are the ones that kubectl describe shows."""
    case = spec("ab", "i")
    found = conditions(
        case,
        records(i="running", a="new", b="new"),
        phase="Pending",
        sandbox_ready=True,
        was_initialized=False,
        gates={},
    )
    assert [(c.type, c.status, c.reason, c.message) for c in found] == [
        ("PodReadyToStartContainers", True, "", ""),
        (
            "Initialized",
            False,
            "ContainersNotInitialized",
            "containers with incomplete status: [i]",
        ),
        ("Ready", False, "ContainersNotReady", "containers with unready status: [a b]"),
        ("ContainersReady", False, "ContainersNotReady", "containers with unready status: [a b]"),
        ("PodScheduled", True, "", ""),
    ]


def test_a_completed_pod_is_not_ready_because_it_completed():
    """Jobs end with Ready False, PodCompleted."""
    found = conditions(
        spec("a", policy="Never"),
        records(a=0),
        phase="Succeeded",
        sandbox_ready=False,
        was_initialized=True,
        gates={"example.com/open": "True"},
    )
    assert {c.type: (c.status, c.reason) for c in found} == {
        "PodReadyToStartContainers": (False, ""),
        "Initialized": (True, "PodCompleted"),
        "Ready": (False, "PodCompleted"),
        "ContainersReady": (False, "PodCompleted"),
        "PodScheduled": (True, ""),
    }


def test_a_readiness_gate_holds_back_ready_but_not_the_containers():
    """Each gate that is not True is named, whether its condition says so or is missing."""
    found = conditions(
        spec("a"),
        records(a="running"),
        phase="Running",
        sandbox_ready=True,
        was_initialized=True,
        gates={"x/open": "True", "x/shut": "False", "x/none": ""},
    )
    told = {c.type: (c.status, c.reason, c.message) for c in found}
    assert told["ContainersReady"] == (True, "", "")
    assert told["Ready"] == (
        False,
        "ReadinessGatesNotReady",
        (
            'the status of pod readiness gate "x/shut" is not "True", but False, '
            'corresponding condition of pod readiness gate "x/none" does not exist.'
        ),
    )


def test_a_container_may_restart_by_a_policy_of_its_own():
    """A main container's restartPolicy outweighs the pod's."""
    own = PodSpec(
        containers=[Container(name="a", restart_policy="Never"), Container(name="b")],
        restart_policy="Always",
    )
    assert plan(own, records(a=1, b=1), was_initialized=True).start == ("b",)


def test_a_crash_loop_restarts_at_once_then_after_10_20_40_seconds_up_to_five_minutes():
    """The first restart is free; every later one waits twice as long from the exit on."""
    backoff = Backoff()
    waits = []
    now = 0
    for _ in range(8):
        wait = backoff.remaining_ns("c", now, now)
        waits.append(wait // NS)
        backoff.next("c", now, now + wait)
        now += wait + NS
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]


def test_ten_quiet_minutes_forgive_a_crash_loop():
    """A container that ran for more than twice the longest delay starts afresh."""
    backoff = Backoff()
    backoff.next("c", 0, 0)
    backoff.next("c", 0, 10 * NS)
    assert backoff.delay_ns("c") == 20 * NS
    later = 10 * NS + 601 * NS
    assert backoff.remaining_ns("c", later, later) == 0
    backoff.next("c", later, later)
    assert backoff.delay_ns("c") == 10 * NS


def test_a_probe_changes_its_mind_only_after_enough_equal_results():
    """failureThreshold 3, successThreshold 2: a single odd result changes nothing."""
    counter = ProbeCounter(2, 3)
    results = [True, True, False, False, True, False, False, False, True, True]
    changed = [counter.count(result) for result in results]
    assert changed == [False, True] + [False] * 5 + [True, False, True]
    assert counter.verdict is True


@pytest.mark.parametrize(
    ("limits", "requests", "expected"),
    [
        ({}, {}, "BestEffort"),
        ({}, {"cpu": "100m"}, "Burstable"),
        ({"cpu": "1"}, {}, "Burstable"),
        ({"cpu": "1", "memory": "1Gi"}, {}, "Guaranteed"),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}, "Guaranteed"),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "500m"}, "Burstable"),
    ],
)
def test_the_quality_class_follows_limits_and_requests(limits, requests, expected):
    """Documentation "Pod Quality of Service Classes"."""
    container = Container(
        name="a", resources=ResourceRequirements(limits=limits, requests=requests)
    )
    assert qos_class(PodSpec(containers=[container])) == expected
