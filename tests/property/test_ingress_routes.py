"""The compiled route table equals the sentences of the Ingress reference, read naively."""

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.l7.route import decide
from tests.rotation import examples
from tests.unit.l7.objects import ingress, path, rule, table

HOSTS = ["", "a.x", "b.x", "*.x", "*.a.x"]
ASKED = ["a.x", "b.x", "c.x", "d.a.x", "x", "y"]
ELEMENTS = ["a", "b", "ab", "A"]

segments = st.lists(st.sampled_from(ELEMENTS), max_size=3)
paths = st.builds(
    lambda parts, slash: "/" + "/".join(parts) + ("/" if slash and parts else ""),
    segments,
    st.booleans(),
)
items = st.tuples(st.sampled_from(HOSTS), paths, st.sampled_from(["Exact", "Prefix"]))


def naive(entries, host, asked):
    """The index of the entry that serves a request: first the host, then the path."""

    def fits(pattern):
        if pattern.startswith("*."):
            label, _, rest = host.partition(".")
            return bool(label) and rest == pattern[2:]
        return pattern == host

    exact = [e for e in entries if e[0] == host]
    wild = [e for e in entries if e[0].startswith("*.") and fits(e[0])]
    mine = exact or wild or [e for e in entries if not e[0]]
    best = None
    for entry in mine:
        _, text, kind = entry
        if kind == "Exact":
            hit, rank = asked == text, (len(text.rstrip("/")), 1)
        else:
            wanted = [part for part in text.split("/") if part]
            given_parts = [part for part in asked.split("/") if part]
            hit, rank = given_parts[: len(wanted)] == wanted, (len(text.rstrip("/")), 0)
        if hit and (best is None or rank > best[0]):
            best = (rank, entry)
    return entries.index(best[1]) if best is not None else None


@settings(max_examples=examples(300))
@given(st.lists(items, min_size=1, max_size=8, unique=True), st.sampled_from(ASKED), paths)
def test_the_table_serves_as_the_reference_says(entries, host, asked):
    """Longest path, exact before prefix, elements and not letters, one label for a wildcard."""
    made = table(
        *(
            ingress(f"i{n}", rule(h, path(text, f"s{n}:8080", kind)), created=n)
            for n, (h, text, kind) in enumerate(entries)
        )
    )
    decision = decide(made, "http", host, asked)
    found = int(decision.upstream.service[1:]) if decision.status == 0 else None
    assert found == naive(entries, host, asked)
