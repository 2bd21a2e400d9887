"""kube-proxy: ConfigMap, ServiceAccount with its rights, DaemonSet.

Source of the shape: kubeadm phases/addons/proxy.
"""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.sim.addons import rbac
from podwire.sim.addons.base import NODE_NAME_ENV, config_map, daemon_set, service_account
from podwire.sim.settings import KUBERNETES_VERSION, ClusterSettings

_CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: {bind}
clusterCIDR: {pod_cidr}
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: {min_sync}
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: {min_sync}
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
metricsBindAddress: ""
mode: "{mode}"
nodePortAddresses: null
"""


def config_text(settings: ClusterSettings) -> str:
    """The KubeProxyConfiguration that the ConfigMap carries."""
    # 0s is kube-proxy's default of one second. With the fast profile pods are Ready within
    # milliseconds, and so are their rules; many nodes that sync a hundred times a second each
    # would do nothing else.
    min_sync = "10ms" if settings.time_profile == "fast" and not settings.wide else "0s"
    return _CONFIG.format(
        bind='"::"' if settings.six else "0.0.0.0",
        pod_cidr=settings.pod_cidrs,
        mode=settings.proxy_mode,
        min_sync=min_sync,
    )


def objects(settings: ClusterSettings) -> list[JSON]:
    """The addon's objects."""
    labels = {"k8s-app": "kube-proxy"}
    config = config_text(settings)
    return [
        service_account("kube-proxy"),
        rbac.binding("kubeadm:node-proxier", "system:node-proxier", [rbac.account("kube-proxy")]),
        config_map("kube-proxy", {"config.conf": config}, {"app": "kube-proxy"}),
        daemon_set(
            "kube-proxy",
            labels,
            {
                "serviceAccountName": "kube-proxy",
                "containers": [
                    {
                        "name": "kube-proxy",
                        "image": f"registry.k8s.io/kube-proxy:{KUBERNETES_VERSION}",
                        "imagePullPolicy": "IfNotPresent",
                        "command": [
                            "/usr/local/bin/kube-proxy",
                            "--config=/var/lib/kube-proxy/config.conf",
                            "--hostname-override=$(NODE_NAME)",
                        ],
                        "env": [NODE_NAME_ENV],
                        "securityContext": {"privileged": True},
                        "volumeMounts": [
                            {"name": "kube-proxy", "mountPath": "/var/lib/kube-proxy"}
                        ],
                    }
                ],
                "volumes": [{"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}],
            },
        ),
    ]
