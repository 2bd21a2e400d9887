"""The certificate controllers' informer and queue (key: the request's name)."""

from __future__ import annotations

import base64

import msgspec

from podwire.api import certificates, kinds
from podwire.api.status import ApiError
from podwire.api.views import CertificateSigningRequest
from podwire.client.driver import Driver
from podwire.client.effects import Delete, Effect
from podwire.controllers.certificates import core
from podwire.controllers.world import World

_KIND = kinds.CERTIFICATE_SIGNING_REQUEST


class Certificates:
    """Looks at certificate requests; signs with what the settings hold, if anything."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sign = world.config.sign
        self._requests = world.informers.informer(_KIND)
        self.driver = world.driver("certificates", self._reconcile)
        if self._sign is not None:
            self._requests.on_change(self._changed)

    def _changed(
        self, _: CertificateSigningRequest | None, new: CertificateSigningRequest | None
    ) -> None:
        if new is not None:
            self.driver.add(new.key)

    def _certificate(self, csr: CertificateSigningRequest) -> str:
        assert self._sign is not None, "only then are requests looked at"
        request = certificates.load(csr.spec.request)
        spec = csr.spec
        pem = self._sign(request, spec.usages, spec.expiration_seconds, self._world.now_ns())
        return base64.b64encode(pem).decode()

    async def _reconcile(self, key: str) -> list[Effect]:
        found, permitted = self._requests.by_key(key), ""
        wanted = core.recognized(found)
        for subresource in wanted:
            assert found is not None, "nothing is recognized in what is not there"
            if await self._may_create(found, subresource):
                permitted = subresource
                break
        effects = core.reconcile(found, self._certificate, self._world.now_ns(), permitted)
        if wanted and not permitted and not any(isinstance(e, Delete) for e in effects):
            why = f'recognized csr "{key}" as [{" ".join(wanted)}] but subject access review was '
            raise ApiError("Forbidden", f"{why}not approved")  # asked again after a while
        return effects

    async def _may_create(self, csr: CertificateSigningRequest, subresource: str) -> bool:
        """Whether the requestor may create what stands for an approval at once."""
        spec = csr.spec
        asked = {
            "group": _KIND.group, "resource": _KIND.plural, "verb": "create",
            "subresource": subresource, "version": "*",
        }  # fmt: skip
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": spec.username, "uid": spec.uid, "groups": spec.groups,
                "extra": spec.extra, "resourceAttributes": asked,
            },
        }  # fmt: skip
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        answer = await self._world.client.send("POST", path, body=review)
        return bool(msgspec.json.decode(answer.body)["status"]["allowed"])


def build(world: World) -> Driver:
    """Approver, signer and cleaner of certificate requests."""
    return Certificates(world).driver
