"""Files that flags name, and kubeconfigs, whatever is in them: an error that tells the file."""

import pytest

from podwire.apiserver import encryption
from podwire.apiserver.admission import configuration
from podwire.apiserver.admission.configuration import ConfigurationError
from podwire.apiserver.audit import policy
from podwire.apiserver.audit.policy import PolicyError
from podwire.cli import kubeconfig
from podwire.cli.kubeconfig import KubeconfigError
from podwire.client.rest import RestClient, Unreachable
from podwire.store import StoreOpenError

LOADERS = {
    "audit": (policy.load, PolicyError, b"apiVersion: audit.k8s.io/v1\nkind: Policy\n"),
    "encryption": (
        encryption.load, StoreOpenError,
        b"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n",
    ),
    "admission": (
        configuration.load, ConfigurationError,
        b"apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n",
    ),
}  # fmt: skip
NO_YAML = (
    b"\xff\xfe", b"a: \x00", b"[" * 100_000, b"{" * 5000, b"a: !!int zz", b"a: !!timestamp x",
    b"a: " + b"1" * 5000, b"a: &a [*a]", b"<<: 1", b"a: 1e999", b"%YAML 9.9\n---\na", b"a: *b",
    b"a: !!python/object:os.system x", b"plugins: [2026-13-45]\nrules: [2026-13-45]\n", b"\t",
    b"plugins: 3\nrules: 3\nresources: 3\n", b"? [a]\n: b\n", b"x" * 2_000_000,
    b"rules: &r [{level: None, users: &u [" + b"a," * 10_000 + b"]}" +
    b",{level: None, users: *u}" * 10_000 + b"]\n", b'plugins: [{name: A, path: "\\0"}]\n',
)  # fmt: skip


@pytest.mark.parametrize("kind", LOADERS)
def test_a_file_of_the_server_is_read_or_refused_by_name(tmp_path, kind):
    """Never anything else; and nothing of a file with keys is told."""
    load, refusal, head = LOADERS[kind]
    file = tmp_path / "configuration.yaml"
    refused = 0
    for text in (*NO_YAML, *(head + text for text in NO_YAML)):
        file.write_bytes(text)
        try:
            load(file)
        except refusal as error:
            refused += 1
            assert str(file) in str(error) or "\\x00" in str(error), text[:80]  # noqa: PT017
            assert len(str(error)) < 100_000, text[:80]  # noqa: PT017
    assert refused > len(NO_YAML)


CONTEXT = "contexts: [{name: a, context: {cluster: c, user: u}}]\ncurrent-context: a\n"
CLUSTERS = (
    "3", "[3]", "[{name: c, cluster: 3}]", "[{name: c, cluster: {server: 3}}]",
    "[{name: c, cluster: {server: 'https://[::1'}}]", "[{name: [], cluster: {}}]",
    "[{name: c, cluster: {server: 'https://127.0.0.1:99999'}}]",
    "[{name: c, cluster: {server: 'https://127.0.0.1:1', certificate-authority-data: '%'}}]",
    "[{name: c, cluster: {server: 'https://127.0.0.1:1', certificate-authority: /none}}]",
    "[{name: c, cluster: {server: 'https://[::1]:1', certificate-authority-data: 3}}]",
    "[]\nusers: [{name: u, user: {client-certificate-data: A}}]",
)  # fmt: skip


def test_a_kubeconfig_is_used_or_refused_by_name(tmp_path):
    """By the commands that ask the server, and by those that write into it."""
    file = tmp_path / "kubeconfig"
    texts = [text.replace(b"rules", b"users") for text in NO_YAML]
    texts += [f"{CONTEXT}clusters: {clusters}".encode() for clusters in CLUSTERS]
    for text in texts:
        file.write_bytes(text)
        try:
            kubeconfig.has_context(file, "a")
            RestClient(str(file), "a").request("GET", "/", timeout_s=0.01)
        except (KubeconfigError, Unreachable) as error:
            assert str(file) in str(error) or "cannot reach" in str(error), text[:80]  # noqa: PT017
        else:
            pytest.fail(f"{text[:80]!r} was of use")
