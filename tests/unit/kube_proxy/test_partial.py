"""However Services change: a kernel fed with partial inputs holds what a full input would give."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.kube_proxy.conftest import NODE, endpoints, feed, proxier, restore_text, service
from tests.unit.kube_proxy.walker import Tables

NAMES = ("a", "b", "c")
SPEC = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]),
        "externalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "internalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "sessionAffinity": st.sampled_from(["None", "ClientIP"]),
        "lb": st.sampled_from([(), ("1.2.3.4",)]),
        "loadBalancerSourceRanges": st.sampled_from([[], ["203.0.113.0/24", "192.168.0.0/24"]]),
    }
)
ENDS = st.lists(
    st.builds(
        lambda i, local, ready, terminating: {
            "addresses": [f"10.244.1.{i}"],
            "nodeName": NODE if local else "node-9",
            "conditions": {"ready": ready, "serving": True, "terminating": terminating},
        },
        st.integers(1, 6),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=4,
)
STEP = st.one_of(
    st.tuples(st.just("service"), st.sampled_from(NAMES), SPEC),
    st.tuples(st.just("slice"), st.sampled_from(NAMES), ENDS),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("sync"), st.just(""), st.none()),
)


def apply(made: Any, step: tuple[str, str, Any]) -> None:
    what, name, value = step
    key = f"default/{name}"
    if what == "service":
        number = NAMES.index(name)
        port = 0 if value["type"] == "ClusterIP" else 30000 + number
        spec = dict(value)
        new = service(name, f"10.96.0.{number + 1}", [("", 80, port, "TCP")], **spec)
        feed(made, new, made.services.get(key))
    elif what == "slice":
        feed(made, endpoints(name, *value), made.slices.get(key, {}).get(f"{name}-x"))
    elif what == "delete" and key in made.services:
        made.service(made.services[key], None)


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP, max_size=14))
def test_partial_syncs_add_up_to_a_full_one(steps):
    """Chains, rules and their order, in both tables; and no jump leads nowhere."""
    made, kernel = proxier(), Tables()
    for step in (("sync", "", None), *steps, ("sync", "", None)):
        if step[0] != "sync":
            apply(made, step)
            continue
        plan = made.plan(full=not kernel.chains)
        if plan is None:
            continue
        kernel.restore(restore_text(plan))
        made.committed(plan)
        full = made.plan(full=True)
        assert full is not None
        fresh = Tables()
        fresh.restore(restore_text(full))
        assert kernel.chains == fresh.chains
        for chains in kernel.chains.values():
            for rules in chains.values():
                for rule in rules:
                    target = rule[rule.index("-j") + 1] if "-j" in rule else ""
                    assert not target.startswith("KUBE-") or target in chains, rule
