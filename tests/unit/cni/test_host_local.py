"""host-local's arithmetic in both families."""

import itertools

import pytest

from podwire.cni.plugins.host_local import allocate, candidates, parse_range
from podwire.cni.spec import CniError


def test_an_ipv6_range_begins_behind_its_gateway_and_never_ends():
    """The first host is the gateway; 2^64 addresses are not listed to find the next one."""
    one = parse_range({"subnet": "fd00:10:244::/64"})
    assert str(one) == "fd00:10:244::1-fd00:10:244:0:ffff:ffff:ffff:ffff"
    first = [str(address) for address, _ in itertools.islice(candidates((one,), ""), 3)]
    assert first == ["fd00:10:244::2", "fd00:10:244::3", "fd00:10:244::4"]


def test_the_search_goes_on_behind_the_last_address_and_wraps_around():
    """A /125 has eight addresses, the network's own and the gateway's are not given."""
    one = parse_range({"subnet": "fd00::/125"})
    assert allocate((one,), {}, "fd00::6") == ("fd00::7", one)
    assert allocate((one,), {}, "fd00::7") == ("fd00::2", one)
    taken = {f"fd00::{n}": b"" for n in range(2, 8)}
    assert allocate((one,), taken, "") is None


@pytest.mark.parametrize("conf", [
    {"subnet": "fd00::/127"},
    {"subnet": "fd00::1/64"},
    {"subnet": "fd00::/64", "rangeEnd": "fd01::9"},
])  # fmt: skip
def test_impossible_ranges_are_refused(conf):
    """Too small, host bits set, an end outside."""
    with pytest.raises(CniError):
        parse_range(conf)
