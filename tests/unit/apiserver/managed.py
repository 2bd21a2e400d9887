"""What stories of field managers write, and how they look at who owns it."""

import msgspec

from podwire.api import kinds

CONFIG_MAP, DEPLOYMENT, POD, SERVICE = (
    kinds.CONFIG_MAP, kinds.DEPLOYMENT, kinds.POD, kinds.SERVICE,
)  # fmt: skip
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
A = CONFIG_MAP.path("default", "a")
WEB = DEPLOYMENT.path("default", "web")


def config_map(data, name="a", **meta):
    meta = {"name": name, **meta} if name else meta
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def deployment(replicas=None, image="nginx"):
    spec = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image}]},
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    meta = {"name": "web"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


async def apply(w, path, body, manager="me", **query):
    """(status, answer)"""
    answer = await w.raw("PATCH", path, body, APPLY, fieldManager=manager, **query)
    return answer.status, msgspec.json.decode(answer.body)


def managers(obj):
    return [
        (e["manager"], e["operation"], e.get("subresource", ""))
        for e in obj["metadata"].get("managedFields", ())
    ]


def owned(obj, manager):
    [entry] = [e for e in obj["metadata"]["managedFields"] if e["manager"] == manager]
    return entry["fieldsV1"]
