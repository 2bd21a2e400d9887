"""The default StorageClass, as kind has it (its manifest of rancher/local-path-provisioner)."""

from __future__ import annotations

from podwire.api.view import JSON


def objects() -> list[JSON]:
    """``standard``: a folder of the node on which the first pod is."""
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "rancher.io/local-path",
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        }
    ]
