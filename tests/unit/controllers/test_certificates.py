"""The certificate controllers' decisions, and the certificates that an authority signs."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from podwire.api import certificates
from podwire.api.times import format_time
from podwire.api.views import CertificateSigningRequest
from podwire.apiserver.certs import Authority
from podwire.client.effects import Delete, Patch, RequeueAfter
from podwire.controllers.certificates import core
from tests import csr

NOW_NS = 1_767_225_600 * 10**9
NODE_USAGES = ("digital signature", "client auth")
SERVING_USAGES = ("digital signature", "server auth")


def seen(encoded, signer=csr.CLIENT, usages=("client auth",), conditions=(), **fields):
    """A request as an informer shows it."""
    body = csr.body("x", encoded, signer, usages)
    body["metadata"] |= {
        "uid": "u",
        "resourceVersion": "5",
        "creationTimestamp": format_time(NOW_NS),
    }
    body["spec"]["username"] = fields.pop("username", "ann")
    made = [
        {"type": c, "status": "True", "lastUpdateTime": format_time(NOW_NS)} for c in conditions
    ]
    body["status"] = {"conditions": made, **fields}
    return msgspec.convert(body, CertificateSigningRequest)


def decided(request, now_ns=NOW_NS):
    """What the controllers do, without looking again later."""
    permitted = next(iter(core.recognized(request)), "")
    effects = core.reconcile(request, lambda _: "signed", now_ns, permitted)
    return [effect for effect in effects if not isinstance(effect, RequeueAfter)]


def test_an_approved_request_is_signed_once():
    """Not before, and not again."""
    encoded = csr.request("ann")
    assert decided(seen(encoded)) == []
    (effect,) = decided(seen(encoded, conditions=["Approved"]))
    assert isinstance(effect, Patch)
    assert effect.subresource == "status"
    assert effect.patch == {
        "metadata": {"uid": "u", "resourceVersion": "5"},
        "status": {"certificate": "signed"},
    }
    assert decided(seen(encoded, conditions=["Approved"], certificate="YQ==")) == []
    assert decided(seen(encoded, conditions=["Denied"])) == []


def test_a_request_that_its_signer_cannot_sign_fails():
    """The condition says why; other signers' requests are left to them."""
    encoded = csr.request("ann")
    (effect,) = decided(seen(encoded, usages=("server auth",), conditions=["Approved"]))
    (approved, failed) = effect.patch["status"]["conditions"]
    assert approved["type"] == "Approved"
    assert failed == {
        "type": "Failed",
        "status": "True",
        "reason": "SignerValidationFailure",
        "message": "invalid usage for client certificate: server auth",
    }
    assert decided(seen(encoded, signer="example.com/mine", conditions=["Approved"])) == []


def test_a_kubelet_that_asks_for_itself_is_approved():
    """Anybody's requests wait for a person."""
    encoded = csr.request("system:node:a", ["system:nodes"])
    signer = certificates.KUBELET_CLIENT
    (effect,) = decided(seen(encoded, signer, NODE_USAGES, username="system:node:a"))
    assert effect.subresource == "approval"
    (condition,) = effect.patch["status"]["conditions"]
    assert condition["reason"] == "AutoApproved"
    assert condition["message"] == (
        "Auto approving self kubelet client certificate after SubjectAccessReview."
    )
    stranger = csr.request("system:node:a", ["system:masters"])
    assert decided(seen(stranger, signer, NODE_USAGES)) == []


def test_old_requests_are_removed():
    """An hour after they were settled, a day after nobody looked at them."""
    hour_ns = 3600 * 10**9
    encoded = csr.request("ann")
    done = seen(encoded, conditions=["Approved"], certificate="YQ==")
    assert decided(done, NOW_NS + hour_ns - 1) == []
    (effect,) = decided(done, NOW_NS + hour_ns)
    assert effect == Delete(core.kinds.CERTIFICATE_SIGNING_REQUEST, "x", uid="u")
    assert decided(seen(encoded), NOW_NS + 24 * hour_ns - 1) == []
    assert len(decided(seen(encoded), NOW_NS + 24 * hour_ns)) == 1


@pytest.mark.parametrize(
    ("groups", "dns", "signer", "usages", "told"),
    [
        (["system:nodes"], [], certificates.KUBELET_CLIENT, NODE_USAGES, ""),
        ([], [], certificates.KUBELET_CLIENT, NODE_USAGES,
         "subject organization is not system:nodes"),
        (["system:nodes"], ["a"], certificates.KUBELET_CLIENT, NODE_USAGES,
         "DNS subjectAltNames are not allowed"),
        (["system:nodes"], [], certificates.KUBELET_CLIENT, ("client auth",),
         "usages did not match [client auth digital signature key encipherment]"),
        (["system:nodes"], ["a"], certificates.KUBELET_SERVING, SERVING_USAGES, ""),
        (["system:nodes"], [], certificates.KUBELET_SERVING, SERVING_USAGES,
         "DNS or IP subjectAltName is required"),
        ([], [], certificates.CLIENT, ("digital signature",),
         "missing required usage for client certificate: client auth"),
    ],
)  # fmt: skip
def test_what_each_signer_accepts(groups, dns, signer, usages, told):
    """Source: pkg/apis/certificates/helpers.go and signer.go."""
    asked = certificates.parse(csr.request("system:node:a", groups, dns))
    assert certificates.complaint(asked, signer, usages) == told


def test_a_signed_certificate_is_what_was_asked_for():
    """Subject, names, key and usages are the request's; it lasts as long as was asked, and a year
    at most.
    """
    authority = Authority(lambda n: b"\7" * n, NOW_NS)
    request = certificates.load(csr.request("system:node:a", ["system:nodes"], ["a.example"]))
    pem = authority.sign(request, [*SERVING_USAGES, "key encipherment"], 3600, NOW_NS)
    made = x509.load_pem_x509_certificate(pem)
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem))
    assert made.subject == request.subject
    assert made.public_key() == request.public_key()
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example"]
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.crl_sign) == (True, True, False)
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    now = dt.datetime.fromtimestamp(NOW_NS // 10**9, tz=dt.UTC)
    assert made.not_valid_after_utc - now == dt.timedelta(hours=1)
    only = x509.load_pem_x509_certificate(authority.sign(request, ["client auth"], None, NOW_NS))
    with pytest.raises(x509.ExtensionNotFound):  # OpenSSL refuses one that allows nothing
        only.extensions.get_extension_for_class(x509.KeyUsage)
    year = x509.load_pem_x509_certificate(authority.sign(request, ["any"], 10**9, NOW_NS))
    assert year.not_valid_after_utc - year.not_valid_before_utc == dt.timedelta(days=365)
