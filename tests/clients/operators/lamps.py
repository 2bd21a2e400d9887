"""An operator of kopf's with one handler of each sort; test_kopf.py runs it by ``kopf run``.

Its webhooks are told by url, or for the Service $SERVICE; $TLS is a folder with ca.pem, cert.pem
and key.pem.
"""

import os
from pathlib import Path

import kopf
import kubernetes

SERVICE = os.environ.get("SERVICE")
PORT = int(os.environ.get("PORT", "0"))
TLS = Path(os.environ.get("TLS", ""))


class ByService(kopf.WebhookServer):  # type: ignore[misc]  # kopf lives in the clients' venv
    """kopf's server, told to the API server by its Service instead of by url."""

    async def __call__(self, fn):
        async for told in super().__call__(fn):
            path = "".join(f"/{part}" for part in told.pop("url").split("/")[3:] if part)
            where = {"name": SERVICE, "namespace": os.environ["NAMESPACE"], "port": 443}
            yield {**told, "service": {**where, "path": path}}


@kopf.on.startup()
def configure(settings, **_):
    settings.persistence.finalizer = "podwire.example.com/lamp"
    settings.peering.lifetime = 5
    if "TLS" in os.environ:
        server = ByService if SERVICE else kopf.WebhookServer
        settings.admission.managed = "lamps.podwire.example.com"
        settings.admission.server = server(
            addr="127.0.0.1", port=PORT or None, cafile=TLS / "ca.pem",
            certfile=TLS / "cert.pem", pkeyfile=TLS / "key.pem",
        )  # fmt: skip


@kopf.on.resume("lamps")
def resumed(patch, **_):
    patch.status["resumed"] = True


@kopf.on.create("lamps")
def created(body, namespace, name, spec, **_):
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"watts": str(spec.get("watts"))}}
    kopf.adopt(owned, owner=body)
    kubernetes.config.load_kube_config()
    made = kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, owned)
    kopf.event(body, type="Normal", reason="Lit", message=f"{name} shines")
    return {"configmap": made.metadata.name}


@kopf.on.create("lamps", id="retried", backoff=0.2)
def retried(retry, **_):
    if retry < 2:
        raise kopf.TemporaryError("not yet", delay=0.2)
    return {"retries": retry}


@kopf.on.update("lamps")
def updated(diff, **_):
    return {"changed": [".".join(path) for _, path, _, _ in diff]}


@kopf.on.field("lamps", field="spec.colour")
def coloured(old, new, **_):
    return {"old": old, "new": new}


@kopf.on.delete("lamps")
def deleted(name, logger, **_):
    logger.info("%s is out", name)


@kopf.timer("lamps", interval=0.3)
def ticked(patch, status, **_):
    if status.get("ticks", 0) < 3:
        patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.daemon("lamps")
async def burns(stopped, name, logger, **_):
    logger.info("%s burns", name)
    await stopped.wait()
    logger.info("%s burns no more", name)


@kopf.index("lamps")
def by_colour(spec, name, **_):
    return {spec.get("colour"): name}


@kopf.timer("lamps", interval=0.5, id="counted")
def counted(by_colour, spec, status, patch, **_):
    alike = len(by_colour.get(spec.get("colour"), []))
    if status.get("alike") != alike:
        patch.status["alike"] = alike


if "TLS" in os.environ:

    @kopf.on.validate("lamps")
    def judged(spec, warnings, **_):
        if spec.get("watts", 0) > 100:
            raise kopf.AdmissionError("that melts", code=422)
        if spec.get("watts", 0) > 60:
            warnings.append("that is warm")

    @kopf.on.mutate("lamps")
    def painted(spec, patch, **_):
        if "colour" not in spec:
            patch.spec["colour"] = "white"
