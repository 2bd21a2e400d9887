"""The token controller's informers and queue (key: the Secret)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import Secret, ServiceAccount
from podwire.client.driver import Driver, split_key
from podwire.client.effects import Effect
from podwire.controllers.serviceaccounttoken import core
from podwire.controllers.world import World


class Tokens:
    """Looks at Secrets of service accounts; signs with what the settings hold, if anything."""

    def __init__(self, world: World) -> None:
        self._root_ca = world.config.root_ca
        self._sign = world.config.sign_token
        self._secrets = world.informers.informer(kinds.SECRET)
        self._accounts = world.informers.informer(kinds.SERVICE_ACCOUNT)
        self._of_account: dict[str, dict[str, None]] = {}
        """Keys of Secrets by the account whose token they hold."""
        self.driver = world.driver("serviceaccount-token", self._reconcile)
        if self._sign is not None:
            self._secrets.on_change(self._secret_changed)
            self._accounts.on_change(self._account_changed)

    def _secret_changed(self, old: Secret | None, new: Secret | None) -> None:
        for secret in (old, new):
            if secret is not None and (account := core.account_of(secret)):
                held = self._of_account.setdefault(account, {})
                if secret is new:
                    held[secret.key] = None
                    self.driver.add(secret.key)
                else:
                    held.pop(secret.key, None)
                    if not held:
                        del self._of_account[account]

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        changed = new if new is not None else old
        assert changed is not None, "a change has a before or an after"
        for key in self._of_account.get(changed.key, ()):
            self.driver.add(key)

    def _signed(self, account: ServiceAccount, secret: str) -> str:
        assert self._sign is not None, "only then are Secrets looked at"
        meta = account.metadata
        return self._sign(meta.namespace, meta.name, meta.uid, secret)

    def _reconcile(self, key: str) -> list[Effect]:
        secret = self._secrets.get(*split_key(key))
        account = self._accounts.by_key(core.account_of(secret)) if secret is not None else None
        return core.reconcile(secret, account, self._root_ca, self._signed)


def build(world: World) -> Driver:
    """The token controller."""
    return Tokens(world).driver
