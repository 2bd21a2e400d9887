"""A namespace for each case, made by kubectl so that no library depends on another."""

import itertools
import os
import subprocess
import time

import pytest

COUNT = itertools.count(1)
IMAGE = "registry.k8s.io/e2e-test-images/agnhost:2.53"


def kubectl(*argv):
    """What kubectl printed."""
    done = subprocess.run(["kubectl", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def ns(request):
    """A namespace with its service account."""
    name = f"lib-{os.getpid()}-{next(COUNT)}"
    kubectl("create", "namespace", name)
    kubectl("wait", "--for=create", "sa/default", "-n", name, "--timeout=60s")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def pod(ns):
    """A Ready pod named web that serves HTTP on 8080; its name."""
    kubectl("run", "web", f"--image={IMAGE}", "--port=8080", "-n", ns, "--", "netexec")
    kubectl("wait", "pod/web", "--for=condition=Ready", "-n", ns, "--timeout=60s")
    return "web"


@pytest.fixture
def until():
    """Asks until it is so; for what other processes do."""

    def wait(met, seconds=60):
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    return wait


@pytest.fixture
def gadgets():
    """A CustomResourceDefinition to create: gadgets.lib.example.com. It is gone afterwards."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {"size": {"type": "integer", "minimum": 1}},
            },
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    }
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }  # fmt: skip
    yield {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.lib.example.com"},
        "spec": {
            "group": "lib.example.com",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gg"]},
            "versions": [version],
        },
    }
    kubectl("delete", "crd", "gadgets.lib.example.com", "--ignore-not-found")
