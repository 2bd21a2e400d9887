"""Validation of volume sources: those of pods, and those of PersistentVolumes.

Source: kubernetes pkg/apis/core/validation (validateVolumeSource, ValidatePersistentVolumeSpec).
"""

from __future__ import annotations

from collections.abc import Callable

from podwire.api import names, quantity
from podwire.api.validation import claims
from podwire.api.validation.field import Errors
from podwire.api.validation.syntax import csi_driver_name, secret_reference
from podwire.api.view import JSON

_FIELDS = frozenset((
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace",
    "metadata.uid",
))  # fmt: skip
_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu",
    "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate",
    "Socket",
)  # fmt: skip
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_MIN_TOKEN_S = 600

Source = Callable[[Errors, str, JSON], None]


def check_volume_source(errors: Errors, path: str, volume: JSON, allowed: frozenset[str]) -> None:
    """The one source of a volume; ``path`` is the volume's, ``allowed`` what may be a source."""
    chosen = ""
    for name in volume:
        if name not in allowed:
            continue
        if chosen:
            errors.forbidden(f"{path}.{name}", "may not specify more than 1 volume type")
            continue
        chosen = name
        check = _SOURCES.get(name)
        if check is not None:
            check(errors, f"{path}.{name}", volume[name])
    if not chosen:
        errors.required(path, "must specify a volume type")


def no_backsteps(errors: Errors, path: str, text: str) -> None:
    """A path that never leads upwards."""
    if ".." in text.split("/"):
        errors.invalid(path, text, "must not contain '..'")


def local_path(errors: Errors, path: str, text: str) -> None:
    """A path that stays below where it starts."""
    if text.startswith("/"):
        errors.invalid(path, text, "must be a relative path")
    no_backsteps(errors, path, text)


def _local_file(errors: Errors, path: str, text: str) -> None:
    local_path(errors, path, text)
    if text.startswith(".."):
        errors.invalid(path, text, "must not start with '..'")


def _required(*fields: str) -> Source:
    def check(errors: Errors, path: str, source: JSON) -> None:
        for name in fields:
            if not source.get(name):
                errors.required(f"{path}.{name}")

    return check


def _mode(errors: Errors, path: str, mode: int | None) -> None:
    if mode is not None and not 0 <= mode <= 0o777:
        errors.invalid(path, mode, _MODE)


def _key_items(errors: Errors, path: str, source: JSON) -> None:
    for i, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{i}]"
        if not item.get("key"):
            errors.required(f"{where}.key")
        if not item.get("path"):
            errors.required(f"{where}.path")
        else:
            _local_file(errors, f"{where}.path", item["path"])
        _mode(errors, f"{where}.mode", item.get("mode"))


def _secret(errors: Errors, path: str, source: JSON) -> None:
    if not source.get("secretName"):
        errors.required(f"{path}.secretName")
    _mode(errors, f"{path}.defaultMode", source.get("defaultMode"))
    _key_items(errors, path, source)


def _config_map(errors: Errors, path: str, source: JSON) -> None:
    if not source.get("name"):
        errors.required(f"{path}.name")
    _mode(errors, f"{path}.defaultMode", source.get("defaultMode"))
    _key_items(errors, path, source)


def _downward(errors: Errors, path: str, source: JSON) -> None:
    _mode(errors, f"{path}.defaultMode", source.get("defaultMode"))
    for i, item in enumerate(source.get("items") or ()):
        downward_file(errors, f"{path}[{i}]", item)


def downward_file(errors: Errors, path: str, item: JSON) -> None:
    """A file that tells a field of the pod, or a resource of a container."""
    if not item.get("path"):
        errors.required(f"{path}.path")
    else:
        _local_file(errors, f"{path}.path", item["path"])
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        _field(errors, f"{path}.fieldRef", field)
        if resource is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.invalid(path, "resource", detail)
    elif resource is not None:
        if not resource.get("containerName"):
            errors.required(f"{path}.resourceFieldRef.containerName")
        resource_field(errors, f"{path}.resourceFieldRef", resource)
    else:
        errors.required(path, "one of fieldRef and resourceFieldRef is required")
    _mode(errors, f"{path}.mode", item.get("mode"))


def _field(errors: Errors, path: str, ref: JSON) -> None:
    field = ref.get("fieldPath", "")
    if not ref.get("apiVersion"):
        errors.required(f"{path}.apiVersion")
    elif not field:
        errors.required(f"{path}.fieldPath")
    else:
        base, bracket, _ = field.partition("['")
        subscripted = base in {"metadata.labels", "metadata.annotations"}
        if not (bracket and field.endswith("']") and subscripted):
            errors.one_of(f"{path}.fieldPath", field, sorted(_FIELDS))


def resource_field(errors: Errors, path: str, ref: JSON) -> None:
    """A container's resource by name, in whole divisors."""
    resource = ref.get("resource", "")
    if not resource:
        errors.required(f"{path}.resource")
    elif not resource.startswith(("requests.hugepages-", "limits.hugepages-")):
        errors.one_of(f"{path}.resource", resource, _RESOURCES)
    divisor = quantity.parse(ref.get("divisor") or "0").nano
    if divisor < 0:
        errors.invalid(f"{path}.divisor", ref["divisor"], "must be greater than or equal to 0")


def _projected(errors: Errors, path: str, source: JSON) -> None:
    _mode(errors, f"{path}.defaultMode", source.get("defaultMode"))
    paths: dict[str, None] = {}
    for i, part in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{i}]"
        if len(part) > 1:
            detail = "may not specify more than 1 volume type"
            for name in list(part)[1:]:
                errors.forbidden(f"{where}.{name}", detail)
        for name in ("secret", "configMap"):
            if name in part:
                if not part[name].get("name"):
                    errors.required(f"{where}.{name}.name")
                _key_items(errors, f"{where}.{name}", part[name])
                _collect(errors, where, part[name].get("items") or [], paths)
        for j, item in enumerate((part.get("downwardAPI") or {}).get("items") or ()):
            downward_file(errors, f"{where}.downwardAPI[{j}]", item)
            _collect(errors, where, [item], paths)
        if "serviceAccountToken" in part:
            _token(errors, f"{where}.serviceAccountToken", part["serviceAccountToken"])
            _collect(errors, where, [part["serviceAccountToken"]], paths)


def _token(errors: Errors, path: str, token: JSON) -> None:
    seconds = token.get("expirationSeconds", 3600)
    if seconds < _MIN_TOKEN_S:
        detail = "may not specify a duration less than 10 minutes"
        errors.invalid(f"{path}.expirationSeconds", seconds, detail)
    if seconds > 1 << 32:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.invalid(f"{path}.expirationSeconds", seconds, detail)
    if not token.get("path"):
        errors.required(f"{path}.path")
    else:
        _local_file(errors, f"{path}.path", token["path"])


def _collect(errors: Errors, path: str, items: list[JSON], paths: dict[str, None]) -> None:
    for item in items:
        text = item.get("path", "")
        if text in paths:
            errors.invalid(path, text, "conflicting duplicate paths")
        paths[text] = None


def _empty_dir(errors: Errors, path: str, source: JSON) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.parse(limit).nano < 0:
        detail = "SizeLimit field must be a valid resource quantity"
        errors.forbidden(f"{path}.sizeLimit", detail)


def _host_path(errors: Errors, path: str, source: JSON) -> None:
    if not source.get("path"):
        errors.required(f"{path}.path")
        return
    no_backsteps(errors, f"{path}.path", source["path"])
    if source.get("type") not in {None, *_HOST_PATH_TYPES}:
        errors.unsupported(f"{path}.type", source["type"], _HOST_PATH_TYPES)


def _nfs(errors: Errors, path: str, source: JSON) -> None:
    _required("server", "path")(errors, path, source)
    if not source.get("path", "").startswith("/"):
        errors.invalid(f"{path}.path", source.get("path", ""), "must be an absolute path")


def _git_repo(errors: Errors, path: str, source: JSON) -> None:
    _required("repository")(errors, path, source)
    local_path(errors, f"{path}.directory", source.get("directory", ""))


def _ephemeral(errors: Errors, path: str, source: JSON) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        errors.required(f"{path}.volumeClaimTemplate")
    else:
        claims.check_claim_spec(errors, f"{path}.volumeClaimTemplate.spec", template["spec"])


def _csi(errors: Errors, path: str, source: JSON) -> None:
    csi_driver_name(errors, f"{path}.driver", source.get("driver", ""))
    if "volumeHandle" in source or "nodePublishSecretRef" not in source:
        return
    if not source["nodePublishSecretRef"].get("name"):
        errors.required(f"{path}.nodePublishSecretRef.name")


def _local(errors: Errors, path: str, source: JSON) -> None:
    if not source.get("path"):
        errors.required(f"{path}.path")
    else:
        no_backsteps(errors, f"{path}.path", source["path"])


def check_csi_volume(errors: Errors, path: str, source: JSON) -> None:
    """The CSI source of a PersistentVolume: a driver and its handle."""
    csi_driver_name(errors, f"{path}.driver", source.get("driver", ""))
    if not source.get("volumeHandle"):
        errors.required(f"{path}.volumeHandle")
    for name in (
        "controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ):  # fmt: skip
        secret_reference(errors, f"{path}.{name}", source.get(name))


def _iscsi(errors: Errors, path: str, source: JSON) -> None:
    _required("targetPortal", "iqn")(errors, path, source)
    if source.get("lun", 0) > 255:
        errors.invalid(f"{path}.lun", source["lun"], "must be between 0 and 255, inclusive")
    chap = source.get("chapAuthDiscovery") or source.get("chapAuthSession")
    if chap and "secretRef" not in source:
        errors.required(f"{path}.secretRef")


def _partitioned(required: str) -> Source:
    def check(errors: Errors, path: str, source: JSON) -> None:
        _required(required)(errors, path, source)
        if not 0 <= source.get("partition", 0) <= 255:
            detail = "must be between 0 and 255, inclusive"
            errors.invalid(f"{path}.partition", source["partition"], detail)

    return check


def _image(errors: Errors, path: str, source: JSON) -> None:
    _required("reference")(errors, path, source)
    policy = source.get("pullPolicy")
    if policy:
        errors.one_of(f"{path}.pullPolicy", policy, ("Always", "IfNotPresent", "Never"))


def _claim(errors: Errors, path: str, source: JSON) -> None:
    name = source.get("claimName", "")
    if not name:
        errors.required(f"{path}.claimName")
    else:
        errors.complaints(f"{path}.claimName", name, names.dns1123_subdomain(name))


_SOURCES: dict[str, Source] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "gitRepo": _git_repo,
    "gcePersistentDisk": _partitioned("pdName"),
    "awsElasticBlockStore": _partitioned("volumeID"),
    "secret": _secret,
    "nfs": _nfs,
    "iscsi": _iscsi,
    "glusterfs": _required("endpoints", "path"),
    "rbd": _required("monitors", "image"),
    "quobyte": _required("registry", "volume"),
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "flexVolume": _required("driver"),
    "cephfs": _required("monitors"),
    "cinder": _required("volumeID"),
    "configMap": _config_map,
    "vsphereVolume": _required("volumePath"),
    "azureFile": _required("secretName", "shareName"),
    "photonPersistentDisk": _required("pdID"),
    "azureDisk": _required("diskName", "diskURI"),
    "portworxVolume": _required("volumeID"),
    "scaleIO": _required("gateway", "system", "volumeName"),
    "storageos": _required("volumeName"),
    "projected": _projected,
    "ephemeral": _ephemeral,
    "csi": _csi,
    "local": _local,
    "image": _image,
}
POD_SOURCES = frozenset(_SOURCES) - {"local"} | {"flocker", "fc"}
"""What a volume of a pod may be."""
PERSISTENT_SOURCES = frozenset((
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd",
    "quobyte", "cephfs", "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume",
    "photonPersistentDisk", "portworxVolume", "azureDisk", "scaleIO", "local", "storageos", "csi",
))  # fmt: skip
"""What a PersistentVolume may be."""
