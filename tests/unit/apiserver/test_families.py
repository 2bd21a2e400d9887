"""IP families of Services: what is chosen, refused, added and given back.

Source of the words: kubernetes pkg/registry/core/service/storage/alloc.go.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from podwire.api import kinds

SVC = kinds.SERVICE
DUAL = "10.96.0.0/16,fd00:10:96::/112"
DUAL_SIX_FIRST = "fd00:10:96::/112,10.96.0.0/16"
SIX = "fd00:10:96::/112"
WIDE = "fd00:10:96::/64"


def service(name: str = "web", **spec) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def shape(made) -> tuple[str, list[str], list[str]]:
    """Policy, families, and the family of each address."""
    spec = made.spec
    kinds_of = ["IPv6" if ":" in ip else "IPv4" for ip in spec.cluster_ips]
    return spec.ip_family_policy, spec.ip_families, kinds_of


@pytest.mark.parametrize(
    ("cidrs", "spec", "policy", "families"),
    [
        (DUAL, {}, "SingleStack", ["IPv4"]),
        (DUAL_SIX_FIRST, {}, "SingleStack", ["IPv6"]),
        (SIX, {}, "SingleStack", ["IPv6"]),
        (DUAL, {"ipFamilies": ["IPv6"]}, "SingleStack", ["IPv6"]),
        (DUAL, {"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4", "IPv6"]),
        ("10.96.0.0/16", {"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4"]),
        (
            DUAL,
            {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]},
            "RequireDualStack",
            ["IPv6", "IPv4"],
        ),
        (DUAL, {"clusterIP": "fd00:10:96::77"}, "SingleStack", ["IPv6"]),
        (
            DUAL,
            {
                "ipFamilyPolicy": "PreferDualStack",
                "clusterIP": "10.96.0.9",
                "clusterIPs": ["10.96.0.9", "fd00:10:96::9"],
            },
            "PreferDualStack",
            ["IPv4", "IPv6"],
        ),
    ],
)
def test_a_new_service_gets_the_families_of_its_policy(simulate, cidrs, spec, policy, families):
    """And an address of each, in their order; what is asked for is what it gets."""

    async def story(w):
        made = await w.client.create(SVC, service(**spec), "default")
        assert shape(made) == (policy, families, families)
        assert made.spec.cluster_ip == made.spec.cluster_ips[0]
        for ip in spec.get("clusterIPs", [spec["clusterIP"]] if "clusterIP" in spec else []):
            assert ip in made.spec.cluster_ips

    simulate(story, service_cidr=cidrs)


def test_addresses_come_from_anywhere_in_a_wide_range(simulate):
    """A /64 has more addresses than anybody can list: given ones and drawn ones are of all."""

    async def story(w):
        asked = "fd00:10:96:0:ffff::7"
        made = await w.client.create(SVC, service(clusterIP=asked), "default")
        assert made.spec.cluster_ips == [asked]
        [drawn] = (await w.client.create(SVC, service("other"), "default")).spec.cluster_ips
        assert ip_address(drawn) in ip_network(WIDE)
        outside = service("outside", clusterIP="fd00:10:96:1::7")
        error = await w.refused(w.client.create(SVC, outside, "default"))
        assert f"The range of valid IPs is {WIDE}" in error.message

    simulate(story, service_cidr=WIDE)


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        ({"clusterIP": "None"}, ["IPv4", "IPv6"]),
        ({"clusterIP": "None", "selector": {"a": "b"}}, ["IPv4"]),
        ({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}, ["IPv4"]),
    ],
)
def test_a_headless_service_without_selector_is_dual_stack_everywhere(simulate, spec, families):
    """Even where the cluster has one family only: nobody has to serve it."""

    async def story(w):
        made = await w.client.create(SVC, service(**spec), "default")
        assert made.spec.ip_families == families
        assert made.spec.cluster_ips == ["None"]

    simulate(story)


@pytest.mark.parametrize(
    ("cidrs", "spec", "why"),
    [
        (
            "10.96.0.0/16",
            {"ipFamilyPolicy": "RequireDualStack"},
            (
                'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not '
                "configured for dual-stack services"
            ),
        ),
        (
            "10.96.0.0/16",
            {"ipFamilies": ["IPv6"]},
            'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
        ),
        (
            "10.96.0.0/16",
            {"clusterIP": "fd00:10:96::7"},
            (
                'spec.clusterIPs[0]: Invalid value: ["fd00:10:96::7"]: IPv6 is not configured on '
                "this cluster"
            ),
        ),
        (
            DUAL,
            {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]},
            (
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are "
                "specified"
            ),
        ),
        (
            DUAL,
            {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00:10:96::9"]},
            (
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are "
                "specified"
            ),
        ),
        (
            DUAL,
            {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv6"]},
            (
                'spec.clusterIPs[0]: Invalid value: "10.96.0.9": expected an IPv6 value as '
                "indicated by `ipFamilies[0]`"
            ),
        ),
        (DUAL, {"ipFamilies": ["IPv4", "IPv4"]}, 'spec.ipFamilies[1]: Duplicate value: "IPv4"'),
        (
            DUAL,
            {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "10.96.0.8"]},
            "may specify no more than one IP for each IP family",
        ),
        (
            DUAL,
            {"clusterIP": "fd00:10:97::1"},
            (
                "failed to allocate IP fd00:10:97::1: the provided IP (fd00:10:97::1) is not in "
                "the valid range. The range of valid IPs is fd00:10:96::/112"
            ),
        ),
    ],
)
def test_what_cannot_be_had_is_refused_with_upstreams_words(simulate, cidrs, spec, why):
    """Policy, families and addresses must fit each other and the cluster."""

    async def story(w):
        error = await w.refused(w.client.create(SVC, service(**spec), "default"))
        assert why in error.message

    simulate(story, service_cidr=cidrs)


def test_a_service_is_upgraded_and_downgraded_by_its_policy(simulate):
    """The second address comes, is held, must not be dropped silently, and is given back."""

    async def patch(w, **spec):
        return await w.client.patch(SVC, "web", {"spec": spec}, "default")

    async def story(w):
        first = await w.client.create(SVC, service(), "default")
        both = await patch(w, ipFamilyPolicy="RequireDualStack")
        assert shape(both) == ("RequireDualStack", ["IPv4", "IPv6"], ["IPv4", "IPv6"])
        assert both.spec.cluster_ip == first.spec.cluster_ip
        second = both.spec.cluster_ips[1]
        taken = service("other", clusterIP=second)
        error = await w.refused(w.client.create(SVC, taken, "default"))
        assert "provided IP is already allocated" in error.message
        error = await w.refused(patch(w, clusterIPs=[first.spec.cluster_ip]))
        assert "must be 'SingleStack' to release the secondary cluster IP" in error.message
        error = await w.refused(patch(w, ipFamilies=["IPv4"]))
        assert "must be 'SingleStack' to release the secondary IP family" in error.message
        one = await patch(w, ipFamilyPolicy="SingleStack")
        assert shape(one) == ("SingleStack", ["IPv4"], ["IPv4"])
        await w.client.create(SVC, taken, "default")

    simulate(story, service_cidr=DUAL)


def test_a_preferred_second_family_comes_only_when_it_is_asked_for(simulate):
    """Edits that leave policy and families alone neither add nor remove an address."""

    async def story(w):
        made = await w.client.create(SVC, service(ipFamilyPolicy="PreferDualStack"), "default")
        before = made.spec.cluster_ips
        edited = await w.client.patch(SVC, "web", {"spec": {"selector": {"a": "b"}}}, "default")
        assert edited.spec.cluster_ips == before
        body = service(ipFamilyPolicy="PreferDualStack", selector={"a": "c"})
        version = edited.metadata.resource_version
        body["metadata"] = {"name": "web", "namespace": "default", "resourceVersion": version}
        put = await w.client.update(SVC, body)
        assert put.spec.cluster_ips == before

    simulate(story, service_cidr=DUAL)


def test_an_external_name_has_no_family(simulate):
    """Neither addresses nor policy; becoming a ClusterIP it gets both, going back it frees them."""

    async def story(w):
        made = await w.client.create(
            SVC, service(type="ExternalName", externalName="example.org"), "default"
        )
        assert (made.spec.ip_families, made.spec.ip_family_policy) == ([], "")
        real = await w.client.patch(
            SVC, "web", {"spec": {"type": "ClusterIP", "externalName": None}}, "default"
        )
        assert shape(real) == ("SingleStack", ["IPv4"], ["IPv4"])

    simulate(story, service_cidr=DUAL)
