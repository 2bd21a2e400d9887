"""What is said of an APIService's Service, and where its group stands: tables of kube-aggregator.

Source of the cases: pkg/controllers/status/remote (remote_available_controller_test.go),
pkg/apis/apiregistration/v1/helper (helpers_test.go).
"""

import msgspec
import pytest

from podwire.api.views import EndpointSlice, Service
from podwire.apiserver.aggregation import core, merging
from podwire.apiserver.aggregation.merging import Priority

REMOTE = core.Remote("remote.group", "u", "group", "remote", "foo", "bar", 443, b"", False)


def service(port=443, name="testPort", type_="ClusterIP"):
    spec = {"type": type_, "ports": [{"port": port, "name": name}]}
    return msgspec.convert({"metadata": {"name": "bar"}, "spec": spec}, Service)


def piece(name="testPort", *ready):
    found = [{"addresses": ["10.0.0.1"], "conditions": {"ready": value}} for value in ready]
    return msgspec.convert(
        {"endpoints": found, "ports": [{"name": name, "port": 443}]}, EndpointSlice
    )


@pytest.mark.parametrize(
    ("found", "slices", "reason", "message"),
    [
        (None, [], "ServiceNotFound", 'service/bar in "foo" is not present'),
        (service(6443), [], "ServicePortError",
         'service/bar in "foo" is not listening on port 443'),
        (service(), [], "EndpointsNotFound",
         'cannot find endpointslices for service/bar in "foo"'),
        (service(), [piece("testPort", False)], "MissingEndpoints",
         'endpointslices for service/bar in "foo" have no addresses with port name "testPort"'),
        (service(), [piece("wrongName", True)], "MissingEndpoints",
         'endpointslices for service/bar in "foo" have no addresses with port name "testPort"'),
        (service(), [piece("testPort", False, None)], "", ""),
        (service(6443, type_="ExternalName"), [], "", ""),
    ],
)  # fmt: skip
def test_what_keeps_an_api_service_away(found, slices, reason, message):
    """Upstream's reasons in upstream's order."""
    verdict = core.reachable(REMOTE, found, slices)
    assert verdict == (core.Verdict("False", reason, message) if reason else None)


def test_a_condition_keeps_the_time_of_its_last_change():
    """Another reason for the same status does not move it; the same words change nothing."""
    obj = {"status": {"conditions": core.patched({}, core.PASSED, "t0")}}
    assert core.patched(obj, core.PASSED, "t1") is None
    (told,) = core.patched(obj, core.LOCAL, "t1")
    assert (told["reason"], told["lastTransitionTime"]) == ("Local", "t0")
    (told,) = core.patched(obj, core.failed_discovery("no"), "t1")
    assert (told["status"], told["lastTransitionTime"]) == ("False", "t1")


def test_groups_stand_where_their_api_services_want_them():
    """By groupPriorityMinimum; versions of a group with several servers by versionPriority, then
    the newest first; who demands nothing stays behind his neighbour.
    """
    local = [("", "v1"), ("reg", "v1"), ("apps", "v1"), ("own", "v1alpha1"), ("custom", "v1")]
    remote = [("apps", "v2"), ("apps", "v1beta1"), ("metrics", "v1"), ("first", "v1")]
    priorities = {
        ("", "v1"): Priority(18000, 1), ("apps", "v1"): Priority(17800, 15),
        ("apps", "v2"): Priority(100, 15), ("apps", "v1beta1"): Priority(100, 20),
        ("custom", "v1"): Priority(1000, 100), ("metrics", "v1"): Priority(2000, 1),
        ("first", "v1"): Priority(19000, 1),
    }  # fmt: skip
    assert merging.in_order(local, remote, priorities) == [
        ("first", "v1"), ("", "v1"), ("reg", "v1"), ("apps", "v1beta1"), ("apps", "v2"),
        ("apps", "v1"), ("own", "v1alpha1"), ("metrics", "v1"), ("custom", "v1"),
    ]  # fmt: skip
