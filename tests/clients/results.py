"""Suites that run in a venv of their own: started once, read from their JUnit report."""

import ast
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.clients import installed


@dataclass
class Results:
    """How each case of a suite ended: passed, failed or skipped, with what was told."""

    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    log: str = ""

    def of(self, case):
        """(outcome, text) of one case, by its name; parametrised ones count as one, worst first."""
        found = [
            outcome
            for name, outcome in self.outcomes.items()
            if name == case or name.startswith(f"{case}[")
        ]
        assert found, f"{case} did not run\n{self.log}"
        return min(found, key=lambda o: ("failed", "passed", "skipped").index(o[0]))


def cases(path):
    """The names of the tests that a file holds."""
    return [
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]


def read(report):
    """The outcomes of a JUnit report, by the tests' names."""
    found = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 pytest wrote it
        outcome, text = "passed", ""
        for told in case:
            if told.tag in {"failure", "error"}:
                outcome, text = "failed", told.text or told.get("message", "")
            elif told.tag == "skipped" and outcome == "passed":
                outcome, text = "skipped", told.get("message", "")
        found[case.get("name")] = (outcome, text)
    return found


def run(cluster, folder, *argv, plugins=("pytest_asyncio.plugin",), timeout=400, **env):
    """pytest of the clients' venv with ``argv``, against a cluster; its Results.

    Only the named plugins are loaded: some libraries bring one that wants a cluster of its own.
    """
    report = folder / "report.xml"
    command = [
        str(installed.python()), "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider",
        *(word for plugin in plugins for word in ("-p", plugin)),
        f"--junitxml={report}", *map(str, argv),
    ]  # fmt: skip
    env = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **env}
    surroundings = {k: v for k, v in cluster.env.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env={**surroundings, **env},
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    log = done.stdout + done.stderr
    return Results(read(report) if report.is_file() else {}, log)


def kubectl_path(folder):
    """A PATH on which ``kubectl`` is the wheel's."""
    commands = Path(folder) / "bin"
    commands.mkdir(exist_ok=True)
    (commands / "kubectl").symlink_to(installed.kubectl("1.37"))
    return f"{commands}{os.pathsep}{os.environ['PATH']}"
