"""kr8s' own tests, as its wheel brings them, against podwire.

The tests that cannot pass here are in expected_failures.txt, each with its reason: the test's own
defect, or what README says is not modelled. One that passes all the same fails this test, so that
the file stays true.
"""

from pathlib import Path

import pytest

from tests.clients import installed
from tests.clients.results import cases, kubectl_path, run
from tests.rotation import some

HERE = Path(__file__).parent
WANTED = 180


def expected_failures():
    """The names in expected_failures.txt, with their reasons."""
    lines = (HERE / "expected_failures.txt").read_text().splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


@pytest.fixture(scope="module")
def suite():
    """Where the wheel keeps its tests."""
    (package,) = (installed.python().parents[1] / "lib").glob("python*/site-packages/kr8s")
    return package


@pytest.fixture(scope="module")
def drawn(suite):
    """The tests that are run: name to where it is."""
    paths = sorted((suite / "tests").glob("test_*.py"))
    found = {name: f"{path}::{name}" for path in paths for name in cases(path)}
    assert len(found) >= WANTED
    return {name: found[name] for name in some(list(found), len(found) // 2)}


@pytest.fixture(scope="module")
def results(fresh, suite, drawn, tmp_path_factory):
    """How each of them ended."""
    folder = tmp_path_factory.mktemp("kr8s")
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    options = ("-c", folder / "pytest.ini", "--rootdir", suite.parent, "-p", "k8s_cluster")
    return run(
        fresh, folder, *options, *drawn.values(), timeout=580,
        PATH=kubectl_path(folder), PYTHONPATH=str(HERE), KUBECTL_BIN=str(folder / "bin/kubectl"),
    )  # fmt: skip


def test_kr8s_own_tests_end_as_expected(results, drawn):
    """All pass but the listed ones, which fail: a name that passes has to leave the list."""
    ran = {name.partition("[")[0] for name in results.outcomes}
    assert sorted(ran) == sorted(drawn), results.log
    failed = {name for name, (outcome, _) in results.outcomes.items() if outcome == "failed"}
    listed = {n: why for n, why in expected_failures().items() if n.rstrip("?") in drawn}
    unexpected = failed - {name.rstrip("?") for name in listed}
    told = "\n\n".join(f"{name}\n{results.outcomes[name][1]}" for name in sorted(unexpected))
    assert not unexpected, told
    assert sorted({name for name in listed if not name.endswith("?")} - failed) == []
