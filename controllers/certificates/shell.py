"""The certificate controllers' informer and queue (key: the request's name)."""

from __future__ import annotations

import base64

from podwire.api import certificates, kinds
from podwire.api.views import CertificateSigningRequest
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.certificates import core
from podwire.controllers.world import World


class Certificates:
    """Looks at certificate requests; signs with what the settings hold, if anything."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sign = world.config.sign
        self._requests = world.informers.informer(kinds.CERTIFICATE_SIGNING_REQUEST)
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

    def _reconcile(self, key: str) -> list[Effect]:
        found = self._requests.by_key(key)
        return core.reconcile(found, self._certificate, self._world.now_ns())


def build(world: World) -> Driver:
    """Approver, signer and cleaner of certificate requests."""
    return Certificates(world).driver
