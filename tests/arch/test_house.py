"""The tree is the architecture: every room is linked, mapped, on a floor, and has a law."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STREET_ROOMS = ("apiserver", "controllers", "kubelet", "kube_proxy", "coredns", "cni")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def sources():
    """Every Python file of the product, once (not again through the links)."""
    for top in ("podwire", *STREET_ROOMS):
        for path in sorted((ROOT / top).rglob("*.py")):
            inside = path.relative_to(ROOT).parts
            if inside[0] == "podwire" and inside[1] in STREET_ROOMS:
                continue
            yield path


def rooms():
    """The names below podwire/ that are packages."""
    return sorted(p.name for p in (ROOT / "podwire").iterdir() if (p / "__init__.py").exists())


def test_every_street_room_is_linked_into_the_house():
    """podwire/<room> is a relative link to ../<room>."""
    for room in STREET_ROOMS:
        link = ROOT / "podwire" / room
        assert link.is_symlink(), room
        assert link.readlink() == Path("..") / room


def test_every_street_room_is_mapped_into_the_wheel():
    """The wheel has each room once, below podwire/."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    for room in STREET_ROOMS:
        assert room in wheel["packages"]
        assert f"/podwire/{room}" in wheel["exclude"]
        assert wheel["sources"][room] == f"podwire/{room}"


def test_every_room_stands_on_a_floor():
    """import-linter's layers name each room, so that a new one cannot be forgotten."""
    layers = " ".join(PROJECT["tool"]["importlinter"]["contracts"][0]["layers"])
    named = layers.replace("|", " ").replace(":", " ").split()
    assert sorted(named) == rooms()


def test_every_room_states_its_law():
    """A room's __init__ opens with what it is and what it never does."""
    for room in rooms():
        text = (ROOT / "podwire" / room / "__init__.py").read_text()
        docstring = ast.get_docstring(ast.parse(text))
        assert docstring, room
        assert len(docstring.splitlines()) >= 3, f"{room}: the law is more than a title"


def test_nobody_imports_a_bare_room():
    """``import kubelet`` would load a second copy of the module."""
    for path in [*sources(), *sorted((ROOT / "tests").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                tops = [alias.name.partition(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                tops = [(node.module or "").partition(".")[0]]
            else:
                continue
            assert not set(tops) & set(STREET_ROOMS), f"{path}:{node.lineno}"


def test_every_dependency_is_justified():
    """docs/dependencies.md has a line for each declared dependency."""
    text = (ROOT / "docs" / "dependencies.md").read_text()
    project = PROJECT["project"]
    for requirement in project["dependencies"] + project["optional-dependencies"]["dev"]:
        name = requirement.partition(">")[0].partition("=")[0].strip()
        assert f"`{name}`" in text, name


def test_the_page_of_kinds_is_current():
    """docs/kinds.md is what docs/kinds.py writes."""
    space = {"__name__": "kinds_page", "__file__": str(ROOT / "docs/kinds.py")}
    exec((ROOT / "docs/kinds.py").read_text(), space)  # noqa: S102  our own script
    assert (ROOT / "docs/kinds.md").read_text() == space["page"]()


def test_the_files_that_the_architecture_names_exist():
    """ARCHITECTURE.md walks real files."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`([\w/]+\.py)(?:::[\w.]+)?`", text))
    paths = [str(path.relative_to(ROOT)) for path in sources()]
    missing = [
        name for name in named if not any(p == name or p.endswith(f"/{name}") for p in paths)
    ]
    assert missing == []
