"""Warnings about ports are looked for only where two ports share number and protocol."""

from hypothesis import given
from hypothesis import strategies as st

from podwire.api.validation import warnings

PORTS = st.fixed_dictionaries(
    {"containerPort": st.sampled_from([80, 81]), "protocol": st.sampled_from(["TCP", "UDP"])},
    optional={"hostPort": st.sampled_from([0, 80]), "hostIP": st.just("10.0.0.1")},
)
CONTAINERS = st.lists(st.fixed_dictionaries({}, optional={"ports": st.lists(PORTS, max_size=3)}))


@given(CONTAINERS, CONTAINERS)
def test_where_no_two_ports_are_alike_there_is_nothing_to_warn_of(regular, init):
    """The quick look and the search agree."""
    spec = {"containers": regular, "initContainers": init}
    told = warnings._ports(warnings._containers("", spec))
    assert warnings._template("", {"spec": spec}) == told
