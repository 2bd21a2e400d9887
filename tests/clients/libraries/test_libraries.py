"""Python clients as they are, each over what it offers. The cases are in suites/test_*.py.

They run in the clients' own venv (tests/clients/install.py), one pytest per library; here every
case is looked up, so that a report names it.
"""

from pathlib import Path

import pytest

from tests.clients.results import cases, kubectl_path, run

SUITES = Path(__file__).parent / "suites"
FILES = sorted(SUITES.glob("test_*.py"))


@pytest.fixture(scope="module")
def transcript():
    """One cluster for all of them."""


@pytest.fixture(scope="module")
def suites(fresh, tmp_path_factory):
    """Runs a suite when its first case is asked for."""
    done = {}

    def results(path):
        if path not in done:
            folder = tmp_path_factory.mktemp(path.stem)
            config = ("-c", SUITES / "pytest.ini", "--rootdir", SUITES)
            done[path] = run(fresh, folder, *config, path, PATH=kubectl_path(folder))
        return done[path]

    return results


CASES = [
    pytest.param(path, case, id=f"{path.stem}: {case}", marks=pytest.mark.xdist_group("libraries"))
    for path in FILES
    for case in cases(path)
]


@pytest.mark.parametrize(("path", "case"), CASES)
def test_a_python_client_is_served(suites, path, case):
    """The library's case ended well."""
    outcome, text = suites(path).of(case)
    assert outcome == "passed", text
