"""Our CEL gives the answers of Kubernetes' own: verdicts, messages, costs.

Source of the answers (tests/data/cel): k8s.io/apiserver and apiextensions-apiserver v0.37.2, asked
expression by expression and rule by rule; the inputs of rules.jsonl.gz are those of upstream's
validation_test.go, compilation_test.go and celcoststability_test.go.
"""

import gzip
import json
from pathlib import Path

from podwire.api.cel.checking import compile_rule
from podwire.api.cel.declarations import declare
from podwire.api.cel.environment import PER_CALL_LIMIT, CompileError, Environment
from podwire.api.cel.rules import compile_rules
from podwire.api.cel.values import EvalError
from podwire.api.validation.field import Errors
from tests.rotation import some

DATA = Path(__file__).parents[3] / "data" / "cel"
EMPTY = Environment({})


def rows(name):
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def answered(expression):
    try:
        value, cost = EMPTY.compile(expression).evaluate([], PER_CALL_LIMIT)
    except CompileError as wrong:
        return {"error": str(wrong), "cost": 0}
    except EvalError as wrong:
        return {"error": str(wrong), "cost": wrong.cost}
    return {"value": value, "cost": cost}


def test_expressions_have_upstreams_values_errors_and_costs():
    """Syntax, types, functions and their failures: carets, words and costs are upstream's."""
    wrong = []
    for row in some(rows("expressions.jsonl.gz"), 250):
        got = answered(row["expression"])
        same = got["cost"] == row["cost"] and got.get("error") == row.get("error")
        if not same or ("value" in row and got.get("value") != row["value"]):
            wrong.append((row, got))
    assert wrong == []


def compiled(row):
    one = declare(row["schema"], root=row["root"])
    for spec in row["schema"].get("x-kubernetes-validations") or ():
        made = compile_rule(spec, one)
        yield {
            "error": made.error, "max": made.cost, "old": made.uses_old,
            "msgerror": made.message_error, "msgmax": made.message_cost,
        }  # fmt: skip


def found(row):
    errors = Errors()
    rules = compile_rules(row["schema"], root=row["root"])
    left = row["budget"]
    if rules is not None:
        left = rules.validate(
            row["obj"], row["old"], errors, [], budget=left, ratcheting=row["ratchet"]
        )
    return sorted(placed(row["path"], cause) for cause in errors.causes), left


def placed(root, cause):
    """An error with the path that upstream's tests put before it."""
    if root == "<nil>":
        return f"{cause.field}: {cause.message}"
    if cause.field == "<nil>":
        return f"{root}: {cause.message}"
    return f"{root}{'' if cause.field.startswith('[') else '.'}{cause.field}: {cause.message}"


def test_rules_of_upstreams_own_tests_compile_to_the_same_errors_and_estimated_costs():
    """Every rule of upstream's tables: what is wrong with it, and what it may cost at most."""
    wrong = []
    for row in some([row for row in rows("rules.jsonl.gz") if "results" in row], 300):
        wanted = [
            {"error": "", "msgerror": "", **{k: v for k, v in one.items() if k != "card"}}
            for one in row["results"]
        ]
        if (got := list(compiled(row))) != wanted:
            wrong.append((row["schema"]["x-kubernetes-validations"], got, wanted))
    assert wrong == []


def test_rules_of_upstreams_own_tests_give_the_same_verdicts_and_costs():
    """Every object of upstream's tables: what its rules complain of, and what is left to spend."""
    wrong = []
    for row in some([row for row in rows("rules.jsonl.gz") if "errors" in row], 400):
        got, left = found(row)
        # upstream charges an expression that fails step by step, ours by its branches
        failed = ("evaluating rule", "no such overload", "messageExpression")
        exact = left == row["rest"] or any(word in str(row) for word in failed)
        if got != row["errors"] or not exact:
            wrong.append((row["schema"], got, row["errors"], left, row["rest"]))
    assert wrong == []


def test_every_rule_of_gateway_api_and_network_policy_tells_good_from_bad():
    """All 102 distinct rules of both projects' CRDs: a good and a bad object each, with upstream's
    verdict, message and cost.
    """
    all_rules = rows("gateway-rules.jsonl.gz")
    assert len(all_rules) == 102
    wrong = []
    for row in all_rules:
        rules = compile_rules({"type": "object", "properties": {"it": row["schema"]}})
        for one in (row["good"], row["bad"]):
            errors = Errors()
            old = None if one["old"] is None else {"it": one["old"]}
            left = rules.validate({"it": one["obj"]}, old, errors, [])
            got = sorted(f"{cause.field}: {cause.message}" for cause in errors.causes)
            if got != sorted(one["errors"]) or 10_000_000 - left != one["cost"]:
                wrong.append((row["rule"], got, one))
        assert row["good"]["errors"] == []
        assert row["bad"]["errors"] != []
    assert wrong == []
