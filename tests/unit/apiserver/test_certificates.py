"""Certificate requests at the API server: who asked, what approval and status may change."""

from __future__ import annotations

import base64

import msgspec
import pytest

from podwire.api import kinds
from podwire.client.counters import Request, User
from tests import csr

CSR = kinds.CERTIFICATE_SIGNING_REQUEST
APPROVED = {"type": "Approved", "status": "True", "reason": "Checked", "message": "fine"}
DENIED = {**APPROVED, "type": "Denied"}


async def asked(w, name="ann", **spec):
    """A request by a user whom the server knows well."""
    user = User("ann", ("dev", "system:authenticated"), "7", (("scopes", ("a",)),))
    body = csr.body(name, csr.request("ann", ["dev"]), **spec)
    body["spec"] |= {"username": "mallory", "groups": ["system:masters"], "uid": "0"}
    headers = {"content-type": "application/json"}
    raw = msgspec.json.encode(body)
    response = await w.server.handle(Request("POST", CSR.path(), (), headers, raw, user))
    return msgspec.json.decode(response.body)


async def put(w, subresource, **status):
    """PUT of a subresource with this status."""
    body = await w.client.get_json(CSR, "ann")
    body["status"] = {**body.get("status", {}), **status}
    return await w.json("PUT", CSR.path("", "ann", subresource), body)


def test_a_request_says_who_made_it(simulate):
    """Whatever the body claims."""

    async def story(w):
        spec = (await asked(w))["spec"]
        assert spec["username"] == "ann"
        assert spec["uid"] == "7"
        assert spec["groups"] == ["dev", "system:authenticated"]
        assert spec["extra"] == {"scopes": ["a"]}

    simulate(story)


def test_approval_sets_conditions_and_nothing_else(simulate):
    """With the times that the approver left out."""

    async def story(w):
        before = await asked(w)
        body = await w.client.get_json(CSR, "ann")
        body["status"] = {"conditions": [APPROVED], "certificate": "bm9uZQ=="}
        body["spec"]["usages"] = ["server auth"]
        answer = await w.json("PUT", CSR.path("", "ann", "approval"), body)
        assert answer["spec"] == before["spec"]
        now = "2026-01-01T00:00:00Z"
        condition = {**APPROVED, "lastUpdateTime": now, "lastTransitionTime": now}
        assert answer["status"] == {"conditions": [condition]}
        shown = await w.json("GET", CSR.path("", "ann", "approval"))
        assert shown == answer

    simulate(story)


def test_who_approves_owns_the_conditions_and_nobody_the_spec(simulate):
    """What the strategies of upstream's three endpoints reset is owned by nobody."""

    async def story(w):
        body = csr.body("ann", csr.request("ann", ["dev"]))
        body["metadata"]["labels"] = {"x": "y"}
        made = await w.json("POST", CSR.path(), body, fieldManager="asker")
        [entry] = made["metadata"]["managedFields"]
        assert list(entry["fieldsV1"]) == ["f:metadata"]
        body = await w.client.get_json(CSR, "ann")
        body["status"] = {"conditions": [APPROVED]}
        path = CSR.path("", "ann", "approval")
        answer = await w.json("PUT", path, body, fieldManager="approver")
        [entry] = (e for e in answer["metadata"]["managedFields"] if e["manager"] == "approver")
        assert entry["subresource"] == "approval"
        assert list(entry["fieldsV1"]["f:status"]["f:conditions"]) == [".", 'k:{"type":"Approved"}']

    simulate(story)


def test_an_approval_cannot_be_taken_back(simulate):
    """Nor can a request be approved and denied. Source: certificates/validation."""

    async def story(w):
        await asked(w)
        await put(w, "approval", conditions=[APPROVED])
        answer = await put(w, "approval", conditions=[])
        assert answer["message"].endswith(
            'status.conditions: Forbidden: updates may not remove a condition of type "Approved"'
        )
        answer = await put(w, "approval", conditions=[APPROVED, DENIED])
        assert (
            'Invalid value: "Denied": Approved and Denied conditions are mutually'
            in (answer["message"])
        )
        answer = await put(w, "approval", conditions=[{**APPROVED, "status": "False"}])
        assert 'status.conditions[0].status: Unsupported value: "False"' in answer["message"]

    simulate(story)


def test_the_signer_reports_a_certificate_and_cannot_approve(simulate):
    """A certificate is a certificate, and is set once."""

    async def story(w):
        await asked(w)
        answer = await put(w, "status", conditions=[APPROVED])
        assert answer["message"].endswith(
            'status.conditions: Forbidden: updates may not add a condition of type "Approved"'
        )
        junk = base64.b64encode(b"junk").decode()
        answer = await put(w, "status", certificate=junk)
        assert answer["message"].endswith(
            'status.certificate: Invalid value: "<certificate data>": must contain at least one '
            "CERTIFICATE PEM block"
        )
        answer = await put(w, "approval", certificate=junk, conditions=[APPROVED])
        assert "certificate" not in answer["status"]

    simulate(story)


def test_an_update_changes_neither_spec_nor_status(simulate):
    """Only its subresources do."""

    async def story(w):
        before = await asked(w)
        body = await w.client.get_json(CSR, "ann")
        body["metadata"]["labels"] = {"x": "y"}
        body["status"] = {"conditions": [APPROVED]}
        answer = await w.json("PUT", CSR.path("", "ann"), body)
        assert answer["metadata"]["labels"] == {"x": "y"}
        assert answer["status"] == before["status"]

    simulate(story)


@pytest.mark.parametrize(
    ("encoded", "told"),
    [
        (base64.b64encode(b"junk").decode(), "PEM block type must be CERTIFICATE REQUEST"),
        ("", "PEM block type must be CERTIFICATE REQUEST"),
    ],
)
def test_what_is_no_request_is_refused(simulate, encoded, told):
    """The field is named."""

    async def story(w):
        answer = await w.json("POST", CSR.path(), csr.body("x", encoded))
        assert answer["code"] == 422
        assert answer["message"] == (
            'CertificateSigningRequest.certificates.k8s.io "x" is invalid: spec.request: '
            f'Invalid value: "{encoded}": {told}'
        )

    simulate(story)


def test_a_request_whose_signature_is_wrong_is_refused(simulate):
    """Who asks must hold the key."""

    async def story(w):
        pem = base64.b64decode(csr.request("ann"))
        lines = pem.split(b"\n")
        lines[-3] = lines[-3][:-6] + b"AAAA" + lines[-3][-2:]
        forged = base64.b64encode(b"\n".join(lines)).decode()
        answer = await w.json("POST", CSR.path(), csr.body("x", forged))
        assert answer["code"] == 422
        assert "spec.request: Invalid value" in answer["message"]

    simulate(story)


def test_nobody_becomes_master_by_a_certificate(simulate):
    """Source: admission plugin CertificateSubjectRestriction."""

    async def story(w):
        body = csr.body("x", csr.request("ann", ["system:masters"]))
        answer = await w.json("POST", CSR.path(), body)
        assert answer["message"] == (
            'certificatesigningrequests.certificates.k8s.io "x" is forbidden: use of '
            "kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
        )

    simulate(story)
