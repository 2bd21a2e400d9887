"""Selectors: labels, fields, nodes."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import field_selectors, kinds, selectors
from podwire.api.status import ApiError
from podwire.api.views import LabelSelector, NodeSelectorTerm, SelectorRequirement

POD = {
    "metadata": {"name": "web-1", "namespace": "shop"},
    "spec": {"nodeName": "node-1"},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("", True), ("app=web", True), ("app==web,tier!=db", True), ("app in (api, web)", True),
        ("app notin (api)", True), ("absent notin (x)", True), ("app", True), ("!absent", True),
        ("!app", False), ("app=api", False), ("absent", False), ("app in ()", False),
        ("replicas>2", True), ("replicas<3", False), ("app>1", False), ("empty=", True),
    ],
)  # fmt: skip
def test_label_selectors_choose(selector: str, chosen: bool) -> None:
    """One line per form of the language."""
    labels = {"app": "web", "replicas": "3", "empty": ""}
    assert selectors.parse(selector).matches(labels) is chosen


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("app=web,", "found '', expected: identifier after ','"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        (
            "app web",
            "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, >, <",
        ),
        ("app in web", "unable to parse requirement: found 'web' expected: '('"),
        ("app=a b", "found 'b', expected: ',' or 'end of string'"),
    ],
)  # fmt: skip
def test_a_bad_label_selector_is_a_bad_request(selector: str, message: str) -> None:
    """With the parser's own words."""
    with pytest.raises(ApiError) as caught:
        selectors.parse(selector)
    assert (caught.value.code, caught.value.message) == (400, message)


def test_label_selectors_print_canonically() -> None:
    """Sorted by key, sets sorted: the text of Scale's status.selector."""
    assert str(selectors.parse("b in (y,x),!c,a=1,d")) == "a=1,b in (x,y),!c,d"


def test_an_absent_selector_selects_nothing_and_an_empty_one_everything() -> None:
    """The difference that surprises newcomers."""
    assert not selectors.compile(None).matches({})
    assert selectors.compile(LabelSelector()).matches({"any": "thing"})
    spread = {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}
    assert selectors.from_json(spread).matches({"a": "1", "b": ""})
    assert not selectors.from_json(spread).matches({"a": "1"})


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("metadata.name=web-1", True),
        ("spec.nodeName!=node-1", False),
        ("status.phase==Running,spec.nodeName=node-1", True),
        ("metadata.name=web-1,metadata.name=web-1", True),
        ("spec.hostNetwork=false", True),
    ],
)
def test_field_selectors_choose(selector: str, chosen: bool) -> None:
    """Only the fields that upstream supports per kind."""
    assert field_selectors.parse_fields(selector, kinds.POD).matches(POD) is chosen


@pytest.mark.parametrize(
    ("kind", "text", "chosen"),
    [
        (kinds.POD, "spec.host=node-1", {"spec": {"nodeName": "node-1"}}),
        (kinds.REPLICATION_CONTROLLER, "status.replicas=2", {"status": {"replicas": 2}}),
        (kinds.EVENTS_EVENT, "regarding.kind=Pod,source=kubelet",
         {"regarding": {"kind": "Pod"}, "deprecatedSource": {"component": "kubelet"}}),
        (kinds.EVENTS_EVENT, "reportingController=c,source=c", {"reportingController": "c"}),
        (kinds.by_gvk("certificates.k8s.io/v1", "CertificateSigningRequest"), "spec.signerName=s",
         {"spec": {"signerName": "s"}}),
        (kinds.by_gvk("certificates.k8s.io/v1", "PodCertificateRequest"), "spec.podName=p",
         {"spec": {"podName": "p"}}),
        (kinds.by_gvk("resource.k8s.io/v1", "ResourceSlice"), "spec.nodeName=n,spec.driver=d",
         {"spec": {"nodeName": "n", "driver": "d"}}),
    ],
)  # fmt: skip
def test_every_kinds_own_fields_select(kind: Any, text: str, chosen: dict[str, Any]) -> None:
    """And an object without them is not selected."""
    selector = field_selectors.parse_fields(text, kind)
    assert selector.matches(chosen)
    assert not selector.matches({})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (kinds.NODE, "field label not supported: metadata.namespace"),
        (kinds.NAMESPACE, "field label not supported: metadata.namespace"),
        (kinds.by_gvk("resource.k8s.io/v1", "ResourceSlice"),
         "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: metadata.namespace",
        ),
    ],
)  # fmt: skip
def test_kinds_without_a_namespace_say_so_in_their_groups_words(kind: Any, message: str) -> None:
    """A cluster's objects cannot be selected by namespace."""
    with pytest.raises(ApiError) as caught:
        field_selectors.parse_fields("metadata.namespace=x", kind)
    assert caught.value.message == message


def test_an_unknown_field_is_a_bad_request_that_names_the_known_ones() -> None:
    """The message a kubectl user sees."""
    with pytest.raises(ApiError) as caught:
        field_selectors.parse_fields("foo.bar=baz", kinds.INGRESS)
    assert caught.value.code == 400
    assert caught.value.message == (
        '"foo.bar" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )
    with pytest.raises(ApiError, match=r"field label not supported: spec\.x"):
        field_selectors.parse_fields("spec.x=1", kinds.POD)


def test_escaped_commas_belong_to_the_value() -> None:
    """As in fields.EscapeValue."""
    [requirement] = field_selectors.parse_fields(r"metadata.name=a\,b", kinds.POD).requirements
    assert requirement.value == "a,b"
    assert str(requirement) == r"metadata.name=a\,b"


def test_a_node_term_needs_all_of_its_expressions() -> None:
    """And an empty term matches no node."""
    term = NodeSelectorTerm(
        match_expressions=[SelectorRequirement(key="cores", operator="Gt", values=["2"])],
        match_fields=[SelectorRequirement(key="metadata.name", operator="In", values=["node-1"])],
    )
    assert selectors.node_term_matches(term, {"cores": "4"}, {"metadata.name": "node-1"})
    assert not selectors.node_term_matches(term, {"cores": "4"}, {"metadata.name": "node-2"})
    assert not selectors.node_term_matches(term, {"cores": "2"}, {"metadata.name": "node-1"})
    assert not selectors.node_term_matches(NodeSelectorTerm(), {}, {})


@given(st.text(alphabet="ab/.-=!(),<> intox\\9é", max_size=30))
def test_any_text_parses_or_is_a_bad_request(text: str) -> None:
    """And what parses prints a text that parses to the same."""
    with contextlib.suppress(ApiError):
        field_selectors.parse_fields(text, kinds.POD)
    with contextlib.suppress(ApiError):
        found = selectors.parse(text)
        assert selectors.parse(str(found)).requirements == found.requirements
