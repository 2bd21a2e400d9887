"""Style is a test: sizes, banned calls, docstrings."""

import ast

import pytest

from tests.arch import test_house as house

MAX_FILE_LINES = 700
WANTED_FILE_LINES = 500
MAX_LARGE_FILES = 6
MAX_FUNCTION_LINES = 60

BANNED = {
    "time": None,  # all of it
    "random": None,
    "secrets": None,
    "uuid": {"uuid1", "uuid4"},
    "os": {"urandom"},
    "threading": {"Thread", "Timer"},
    "asyncio": {"TaskGroup", "all_tasks", "wait", "as_completed", "wait_for", "to_thread"},
}
NOW = {"now", "utcnow", "today"}

FILES = [path.relative_to(house.ROOT) for path in house.sources()]


def tree_of(path):
    return ast.parse((house.ROOT / path).read_text())


def offences(tree):
    """(line, what) of each way around the one door for time and chance."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in BANNED and not node.level:
            names = {alias.name for alias in node.names}
            if BANNED[node.module] is None or names & BANNED[node.module]:
                found.append((node.lineno, f"from {node.module} import"))
        elif isinstance(node, ast.Import):
            found += [
                (node.lineno, f"import {alias.name}")
                for alias in node.names
                if BANNED.get(alias.name, ()) is None
            ]
        elif isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", getattr(node.value, "attr", ""))
            if node.attr in (BANNED.get(owner) or ()):
                found.append((node.lineno, f"{owner}.{node.attr}"))
            if owner in {"datetime", "dt", "date"} and node.attr in NOW:
                found.append((node.lineno, f"{owner}.{node.attr}"))
    return found


def test_no_file_is_too_long():
    """At most 700 lines, and only a handful above 500: a room wants dividing before that."""
    lengths = {path: len((house.ROOT / path).read_text().splitlines()) for path in FILES}
    assert {p: n for p, n in lengths.items() if n > MAX_FILE_LINES} == {}
    assert len([n for n in lengths.values() if n > WANTED_FILE_LINES]) <= MAX_LARGE_FILES


@pytest.mark.parametrize("path", FILES, ids=str)
def test_functions_fit_on_a_screen(path):
    """A function has at most 60 lines, its docstring not counted."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                length -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path}:{node.lineno} {node.name}: {length} lines"


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[1] != "runtime"], ids=str)
def test_time_and_chance_enter_by_one_door(path):
    """No clock, global randomness, uuid, thread or unordered wait outside podwire/runtime."""
    assert offences(tree_of(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from random import choice",
        "import datetime\ndatetime.datetime.now()",
        "import uuid\nuuid.uuid4()",
        "import os\nos.urandom(3)",
        "import asyncio\nasyncio.wait_for(x, 1)",
    ],
)
def test_the_door_is_guarded(code):
    """The check above sees each way around the door."""
    assert offences(ast.parse(code))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_public_names_are_documented(path):
    """Modules, public classes, functions and methods have docstrings."""
    tree = tree_of(path)
    missing = [] if ast.get_docstring(tree) else ["module"]

    def visit(nodes, prefix):
        for node in nodes:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                missing.append(f"{prefix}{node.name}:{node.lineno}")
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{node.name}.")

    visit(tree.body, "")
    assert missing == []


def test_no_merge_was_left_half_done():
    """Git's markers stand in no file: a document with them is no Python, so nothing else fails."""
    texts = [house.ROOT / path for path in FILES]
    for pattern in ("*.md", "*.toml", "*.yaml", "docs/**/*.md", "examples/**/*", "tests/**/*.py"):
        texts += [path for path in sorted(house.ROOT.glob(pattern)) if path.is_file()]
    marks = tuple(mark * 7 + " " for mark in "<>|")
    found = [
        f"{path}:{number}"
        for path in texts
        if "__pycache__" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.startswith(marks)
    ]
    assert found == []
