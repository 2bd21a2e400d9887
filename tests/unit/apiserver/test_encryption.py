"""Secrets encrypted at rest: the store holds upstream's format, readers see plain values."""

import base64

import pytest

from podwire.api import kinds
from podwire.apiserver.encryption import load
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import User
from podwire.runtime.env import real
from podwire.store import Put, StoreOpenError
from podwire.store.durable import DurableStore
from podwire.store.embedded import EmbeddedStore
from podwire.store.encrypted import AesCbc, AesGcm, DecryptionError, EncryptedStore

ADMIN = User("admin", ("system:masters",))
KEY = "/registry/secrets/default/a"
ONE, TWO = bytes(range(32)), bytes(range(32, 64))


def written(tmp_path, *providers, resources="[secrets]"):
    """A configuration file with these providers (YAML)."""
    file = tmp_path / "encryption.yaml"
    lines = "\n".join(f"  - {one}" for one in providers)
    file.write_text(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
        f"resources:\n- resources: {resources}\n  providers:\n{lines}\n"
    )
    return file


def keyed(provider, *keys):
    """A provider with named keys."""
    listed = ", ".join(
        f"{{name: {name}, secret: {base64.b64encode(key).decode()}}}" for name, key in keys
    )
    return f"{provider}: {{keys: [{listed}]}}"


GCM_ONE = keyed("aesgcm", ("one", ONE))
GCM_BOTH = keyed("aesgcm", ("two", TWO), ("one", ONE))


def encrypted(inner, file, path=""):
    return EncryptedStore(inner, load(file), real(7, "off").secret, path)


def memory():
    env = real(7, "off")
    return EmbeddedStore(env.clock, env.trace)


async def served(store):
    """An API server over the store, and a client of it."""
    server = Apiserver(real(7, "off"), store)
    await server.start()
    return server, Client(DirectApi(server, ADMIN))


@pytest.mark.parametrize("provider", ["aesgcm", "aescbc"])
async def test_a_secret_is_ciphertext_in_the_store_and_plain_to_readers(tmp_path, provider):
    """As upstream's: the prefix names provider and key; other resources stay as they are."""
    inner = memory()
    store = encrypted(inner, written(tmp_path, keyed(provider, ("one", ONE))))
    server, client = await served(store)
    await client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
    await client.create(
        kinds.SECRET, {"metadata": {"name": "a"}, "stringData": {"k": "hush"}}, "default"
    )
    raw = (await inner.get(KEY)).value
    assert raw.startswith(f"k8s:enc:{provider}:v1:one:".encode())
    assert base64.b64encode(b"hush") not in raw
    assert (await inner.get("/registry/namespaces/default")).value.startswith(b"{")
    assert (await client.get(kinds.SECRET, "a", "default")).data == {
        "k": base64.b64encode(b"hush").decode()
    }
    assert b'"Secret"' in (await store.get(KEY)).value
    server.stop()


async def test_watchers_see_plain_values_before_and_after(tmp_path):
    """History, too, is opened on its way."""
    store = encrypted(memory(), written(tmp_path, GCM_ONE))
    await store.txn((), [Put(KEY, b"one")])
    await store.txn((), [Put(KEY, b"two")])
    seen = []
    await store.watch("/registry/", 2, seen.extend)
    assert [(e.kv.value, e.previous and e.previous.value) for e in seen] == [
        (b"one", None),
        (b"two", b"one"),
    ]


def test_the_path_of_the_key_is_authenticated():
    """A value that somebody moved to another key does not open (aescbc does not notice)."""
    gcm, secret = AesGcm("one", ONE), real(7, "off").secret
    sealed = gcm.seal(b"value", b"/registry/secrets/default/a", secret)
    assert gcm.open(sealed, b"/registry/secrets/default/a") == b"value"
    with pytest.raises(ValueError, match="authentication failed"):
        gcm.open(sealed, b"/registry/secrets/kube-system/a")


@pytest.mark.parametrize("provider", [AesGcm("one", ONE), AesCbc("one", ONE)])
def test_a_damaged_value_is_refused(provider):
    """Cut short at any place, it is an error and nothing else."""
    sealed = provider.seal(b"v" * 20, b"/k", real(7, "off").secret)
    for size in range(len(provider.prefix), len(sealed)):
        try:
            assert provider.open(sealed[:size], b"/k") != b"v" * 20
        except ValueError:
            continue


async def test_the_first_key_writes_and_all_read(tmp_path):
    """A new key in front: old values are read, and ``kubectl replace`` of the same object writes it
    anew with the new key, though nothing changed.
    """
    inner = memory()
    server, client = await served(encrypted(inner, written(tmp_path, GCM_ONE)))
    await client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
    await client.create(kinds.SECRET, {"metadata": {"name": "a"}}, "default")
    server.stop()
    server, client = await served(encrypted(inner, written(tmp_path, GCM_BOTH)))
    path = kinds.SECRET.path("default", "a")
    same = (await client.send("GET", path)).body
    assert (await inner.get(KEY)).value.startswith(b"k8s:enc:aesgcm:v1:one:")
    await client.send("PUT", path, body=same)
    now = await inner.get(KEY)
    assert now.value.startswith(b"k8s:enc:aesgcm:v1:two:")
    await client.send("PUT", path, body=(await client.send("GET", path)).body)
    assert (await inner.get(KEY)).mod_revision == now.mod_revision  # nothing to do any more
    server.stop()


async def test_plain_values_are_read_where_identity_is_the_last_provider(tmp_path):
    """The way into encryption, and the way out of it."""
    inner = memory()
    await inner.txn((), [Put(KEY, b"{}")])
    store = encrypted(inner, written(tmp_path, GCM_ONE, "identity: {}"))
    assert (await store.get(KEY)).value == b"{}"
    assert store.stale(KEY)
    with pytest.raises(DecryptionError, match="no matching key"):
        await encrypted(inner, written(tmp_path, GCM_ONE)).get(KEY)


async def test_a_wrong_key_is_told_with_the_path_and_what_to_do(tmp_path):
    """The server does not start over Secrets that it cannot read."""
    env = real(7, "off")
    durable = DurableStore.open(tmp_path / "data", env.clock, env.trace, env.log)
    await encrypted(durable, written(tmp_path, GCM_ONE)).txn((), [Put(KEY, b"{}")])
    await durable.close()
    durable = DurableStore.open(tmp_path / "data", env.clock, env.trace, env.log)
    other = encrypted(durable, written(tmp_path, keyed("aesgcm", ("one", TWO))))
    with pytest.raises(
        DecryptionError, match=f"{KEY}: cipher: message authentication failed; .*config"
    ):
        await served(other)
    await other.close()


@pytest.mark.parametrize(
    ("providers", "why"),
    [
        (["kms: {name: a, endpoint: 'unix:///x'}"], "kms is not modelled"),
        (["secretbox: {keys: [{name: a, secret: YQ==}]}"], "secretbox is not modelled"),
        (["aesgcm: {keys: [{name: a, secret: YQ==}]}"], r"got 1, expected one of \[16 24 32\]"),
        (["aesgcm: {keys: [{name: a, secret: '%'}]}"], "must be base64"),
        (["aesgcm: {keys: []}"], "resources.0.providers.0.aesgcm.keys"),
        (["{}"], "exactly one"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_names_its_field_and_no_secret(tmp_path, providers, why):
    """One line, before the store is opened."""
    with pytest.raises(StoreOpenError, match=why) as caught:
        load(written(tmp_path, *providers))
    assert "YQ==" not in str(caught.value)


@pytest.mark.parametrize(
    ("resources", "key", "meant"),
    [
        ("[secrets]", KEY, True),
        ("[secrets]", "/registry/configmaps/default/a", False),
        ("[configmaps, secrets]", KEY, True),
        ("['*.apps']", "/registry/deployments/default/a", True),
        ("['*.apps']", KEY, False),
        ("['*.*']", "/registry/example.com/widgets/default/a", True),
        ("[widgets.example.com]", "/registry/example.com/widgets/default/a", True),
        ("['*.']", KEY, True),
        ("['*.*']", "/registry/ranges/serviceips", False),
    ],
)
def test_resources_are_named_as_upstream_names_them(tmp_path, resources, key, meant):
    """With their group, or with wildcards."""
    assert (load(written(tmp_path, GCM_ONE, resources=resources))(key) is not None) == meant
