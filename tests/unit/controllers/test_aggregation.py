"""ClusterRoles that are made of others."""

import msgspec

from podwire.api.views import ClusterRole
from podwire.controllers.clusterroleaggregation import core

READ, WRITE = ({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]} for verb in "rw")


def role(name, *rules, label="", selects=()):
    """A role as an informer shows it; ``selects`` are labels."""
    body = {"metadata": {"name": name, "labels": {label: "true"} if label else {}}}
    body["rules"] = list(rules)
    if selects:
        chosen = [{"matchLabels": {key: "true"}} for key in selects]
        body["aggregationRule"] = {"clusterRoleSelectors": chosen}
    return msgspec.convert(body, ClusterRole)


def test_an_aggregated_role_has_the_rules_of_those_it_selects_once():
    """Selector by selector, in order of names; its own old rules count for nothing."""
    view = role("view", {"verbs": ["x"]}, label="b", selects=("a", "b"))
    others = [role("one", READ, label="b"), role("two", WRITE, READ, label="a"), role("z", WRITE)]
    (effect,) = core.reconcile(view, [*others, view])
    assert effect.patch == {"rules": [WRITE, READ]}
    done = role("view", WRITE, READ, label="b", selects=("a", "b"))
    assert core.reconcile(done, [*others, done]) == []


def test_another_role_keeps_its_rules():
    """And one that is gone is nobody's."""
    assert core.reconcile(role("plain", READ), [role("one", WRITE)]) == []
    assert core.reconcile(None, []) == []
