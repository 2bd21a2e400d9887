"""Scenario files: errors name the field's path and what to write."""

from pathlib import Path

import pytest

from podwire.chaos.scenario import ScenarioError, load

ROOT = Path(__file__).resolve().parents[3]
GOOD = """
apiVersion: podwire.dev/v1alpha1
kind: Scenario
metadata: {name: x}
spec:
  steadyState:
    - trace: {from: pod/a, to: "pod/b:80", fate: DELIVERED}
  steps:
    - fault: {kind: link-partition, a: node-1, b: node-2}
    - wait: 1m
"""


def written(tmp_path, text):
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    return path


def test_a_scenario_is_read(tmp_path):
    """Durations have units, defaults are set."""
    scenario = load(written(tmp_path, GOOD))
    assert scenario.spec.steps[1].wait.seconds == 60
    assert scenario.spec.cluster.nodes == 3
    assert scenario.spec.steady_state[0].title == "pod/a > pod/b:80 DELIVERED"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("fate: DELIVERED", "fate: ARRIVED", "spec.steadyState.0.trace.fate"),
        ("wait: 1m", "wait: soon", "'soon' is no duration; write 500ms, 90s, 5m or 1h"),
        ("wait: 1m", "pause: 1m", "spec.steps.1.pause"),
        ("wait: 1m", "{}", "give exactly one of wait, fault, expect, heal"),
        ("kind: link-partition", "kind: meteor", "spec.steps.0.fault"),
        ("b: node-2", "b: 7", "spec.steps.0.fault.link-partition.b"),
        ("metadata: {name: x}", "metadata: {}", "metadata.name"),
        ("kind: Scenario", "kind: Story", "kind"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, told):
    """One line per field."""
    with pytest.raises(ScenarioError) as error:
        load(written(tmp_path, GOOD.replace(old, new)))
    assert told in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "kind: Scenario"])
def test_junk_is_no_scenario(tmp_path, text):
    """Never another exception."""
    with pytest.raises(ScenarioError):
        load(written(tmp_path, text))


def test_the_shipped_scenarios_are_scenarios():
    """All three load."""
    found = [p for p in (ROOT / "examples/chaos").glob("*.yaml") if "Scenario" in p.read_text()]
    assert {load(path).metadata.name for path in found} == {
        "pod-kill",
        "link-partition",
        "coredns-down",
    }
