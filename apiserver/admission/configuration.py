"""What plugins are told by a file (kube-apiserver's --admission-control-config-file).

Source: apiserver pkg/admission/config.go, pkg/apis/apiserver/v1 (AdmissionConfiguration).
"""

from __future__ import annotations

from pathlib import Path

from podwire.api.view import JSON
from podwire.apiserver import configfile
from podwire.apiserver.configfile import ConfigFileError


class ConfigurationError(ValueError):
    """The file is no such configuration."""


def load(path: Path) -> dict[str, JSON]:
    """The configuration of each plugin that has one: given in place, or by the path of a file.

    A path is seen from the folder of the file that names it. Raises ConfigurationError, OSError.
    """
    body = _read(path)
    kind = (body.get("apiVersion"), body.get("kind"))
    if kind != ("apiserver.config.k8s.io/v1", "AdmissionConfiguration"):
        raise ConfigurationError(
            f"{path}: expected apiserver.config.k8s.io/v1 AdmissionConfiguration, got {kind[0]} "
            f"{kind[1]}"
        )
    plugins = body.get("plugins") or []
    if not isinstance(plugins, list):
        raise ConfigurationError(f"{path}: plugins: expected a list")
    found: dict[str, JSON] = {}
    for index, plugin in enumerate(plugins):
        name = plugin.get("name") if isinstance(plugin, dict) else None
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"{path}: plugins[{index}].name: expected a name")
        if plugin.get("configuration") is not None:
            given = plugin["configuration"]
            if not isinstance(given, dict):
                raise ConfigurationError(f"{path}: plugins[{index}].configuration: not an object")
            found[name] = given
        elif plugin.get("path"):
            found[name] = _read(path.parent / str(plugin["path"]))
    return found


def _read(path: Path) -> JSON:
    try:
        body = configfile.read(path)
    except ConfigFileError as error:
        raise ConfigurationError(str(error)) from error
    except ValueError as error:  # no path at all
        raise ConfigurationError(f"{str(path)!r}: {error}") from error
    if not isinstance(body, dict):
        raise ConfigurationError(f"{path}: expected an object")
    return body
