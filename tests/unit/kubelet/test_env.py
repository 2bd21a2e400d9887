"""Environment variables and command lines of containers."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api.views import (
    ConfigMap,
    Container,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    KeySelector,
    ObjectFieldSelector,
    ObjectMeta,
    Pod,
    PodSpec,
    ResourceRequirements,
    Secret,
    Service,
    ServicePort,
    ServiceSpec,
)
from podwire.kubelet.env import (
    ConfigError,
    Lookups,
    MissingObjectError,
    PodValues,
    command_line,
    environment,
    expand,
    service_links,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y2z"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$A ${A}", "$A ${A}"),
        ("open $(A", "open $(A"),
        ("end$", "end$"),
        ('check="$$(dig x)"', 'check="$(dig x)"'),
    ],
)
def test_references_expand_and_double_dollars_escape(text, expected):
    """Kubernetes' own rule, not a shell's; the last row is what the DNS conformance pods use."""
    assert expand(text, {"A": "1", "B": "2"}) == expected


@given(st.text(alphabet="a$()B"))
def test_doubling_every_dollar_makes_any_text_literal(text):
    """Escaping is complete."""
    assert expand(text.replace("$", "$$"), {"B": "no", "a": "no"}) == text


def values(container_pod: Pod, host_ips=("192.168.0.11",), **objects) -> PodValues:
    return PodValues(
        pod=container_pod,
        host_ips=host_ips,
        pod_ips=("10.244.0.7",),
        links=objects.get("links", {}),
        lookups=Lookups(
            lambda _, name: objects.get("config_maps", {}).get(name),
            lambda _, name: objects.get("secrets", {}).get(name),
        ),
        allocatable={"cpu": "4", "memory": "8388608Ki"},
        hostname="web",
    )


POD = Pod(
    metadata=ObjectMeta(name="web", namespace="shop", uid="u1", labels={"app": "web"}),
    spec=PodSpec(node_name="node-1"),
)


def test_variables_come_from_fields_maps_secrets_and_each_other():
    """Later entries may refer to earlier ones; args see them all."""
    container = Container(
        name="c",
        command=["run", "--ip=$(IP)"],
        args=["$(GREETING)"],
        env_from=[EnvFromSource(prefix="CFG_", config_map_ref=KeySelector(name="cm"))],
        env=[
            EnvVar(
                name="IP",
                value_from=EnvVarSource(field_ref=ObjectFieldSelector(field_path="status.podIP")),
            ),
            EnvVar(
                name="APP",
                value_from=EnvVarSource(
                    field_ref=ObjectFieldSelector(field_path="metadata.labels['app']")
                ),
            ),
            EnvVar(
                name="TOKEN",
                value_from=EnvVarSource(secret_key_ref=KeySelector(name="s", key="t")),
            ),
            EnvVar(name="GREETING", value="$(CFG_HELLO) $(APP)@$(NODE)"),
        ],
    )
    found = environment(
        container,
        values(
            POD,
            config_maps={"cm": ConfigMap(data={"HELLO": "hi"})},
            secrets={"s": Secret(data={"t": base64.b64encode(b"xyz").decode()})},
        ),
    )
    assert found["TOKEN"] == "xyz"
    assert found["GREETING"] == "hi web@$(NODE)"
    assert command_line(container, found) == ("run", "--ip=10.244.0.7", "hi web@$(NODE)")


def test_host_addresses_are_the_node_s_before_any_status_tells_them():
    """status.hostIPs of a dual-stack node's pod that starts for the first time."""
    env = [
        EnvVar(name=name, value_from=EnvVarSource(field_ref=ObjectFieldSelector(field_path=path)))
        for name, path in (("ONE", "status.hostIP"), ("ALL", "status.hostIPs"))
    ]
    addresses = ("192.168.0.11", "fd00:192:168::11")
    known = environment(Container(name="c", env=env), values(POD, addresses))
    assert (known["ONE"], known["ALL"]) == ("192.168.0.11", "192.168.0.11,fd00:192:168::11")


def test_a_missing_config_map_and_a_missing_key_stop_the_container_unless_optional():
    """The messages are those of CreateContainerConfigError."""

    def wants(optional: bool, key="k") -> Container:
        ref = KeySelector(name="cm", key=key, optional=optional)
        source = EnvVarSource(config_map_key_ref=ref)
        return Container(name="c", env=[EnvVar(name="X", value_from=source)])

    with pytest.raises(MissingObjectError, match='configmap "cm" not found'):
        environment(wants(False), values(POD))
    present = values(POD, config_maps={"cm": ConfigMap(data={"other": "1"})})
    with pytest.raises(ConfigError, match="couldn't find key k in ConfigMap shop/cm"):
        environment(wants(False), present)
    assert "X" not in environment(wants(True), values(POD))


def test_service_links_of_the_namespace_and_of_the_api_server():
    """Documentation "Accessing the Service": names upper-cased, dashes become underscores."""

    def service(namespace, name, address, *ports):
        return Service(
            metadata=ObjectMeta(name=name, namespace=namespace),
            spec=ServiceSpec(cluster_ip=address, ports=list(ports)),
        )

    services = [
        service("default", "kubernetes", "10.96.0.1", ServicePort(name="https", port=443)),
        service("shop", "redis-primary", "10.0.0.11", ServicePort(port=6379)),
        service("shop", "headless", "None", ServicePort(port=80)),
        service("elsewhere", "other", "10.0.0.12", ServicePort(port=80)),
    ]
    links = service_links(POD, services)
    assert links == {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "443",
        "KUBERNETES_PORT": "tcp://10.96.0.1:443",
        "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443",
        "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
        "KUBERNETES_PORT_443_TCP_PORT": "443",
        "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
        "REDIS_PRIMARY_SERVICE_HOST": "10.0.0.11",
        "REDIS_PRIMARY_SERVICE_PORT": "6379",
        "REDIS_PRIMARY_PORT": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP_PROTO": "tcp",
        "REDIS_PRIMARY_PORT_6379_TCP_PORT": "6379",
        "REDIS_PRIMARY_PORT_6379_TCP_ADDR": "10.0.0.11",
    }
    without = Pod(metadata=POD.metadata, spec=PodSpec(enable_service_links=False))
    assert "KUBERNETES_SERVICE_HOST" in service_links(without, services)
    assert "REDIS_PRIMARY_SERVICE_HOST" not in service_links(without, services)


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.memory", None, "67108864"),
        ("limits.memory", "1Mi", "64"),
        ("requests.memory", "1Gi", "1"),
        ("limits.cpu", None, "4"),
        ("requests.cpu", "1m", "250"),
        ("requests.cpu", "1", "1"),
        ("requests.ephemeral-storage", "0", "0"),
    ],
)
def test_resources_are_told_in_units_of_the_divisor_rounded_up(resource, divisor, expected):
    """A limit that is not set is the node's; a request that is not set is nothing."""
    resources = ResourceRequirements(
        limits={"memory": "64Mi"}, requests={"memory": "64Mi", "cpu": "250m"}
    )
    ref = {"resource": resource} | ({"divisor": divisor} if divisor else {})
    source = EnvVarSource(resource_field_ref=ref)
    case = Container(name="c", resources=resources, env=[EnvVar(name="N", value_from=source)])
    pod = Pod(metadata=POD.metadata, spec=PodSpec(containers=[case]))
    assert environment(case, values(pod))["N"] == expected
