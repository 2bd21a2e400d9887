"""The one ordered list of controllers, by upstream's names (kube-controller-manager)."""

from __future__ import annotations

from collections.abc import Callable

from podwire.client.driver import Driver
from podwire.controllers.certificates import shell as certificates
from podwire.controllers.clusterroleaggregation import shell as clusterroleaggregation
from podwire.controllers.cronjob import shell as cronjob
from podwire.controllers.daemonset import shell as daemonset
from podwire.controllers.deployment import shell as deployment
from podwire.controllers.disruption import shell as disruption
from podwire.controllers.endpoints import shell as endpoints
from podwire.controllers.endpointslice import shell as endpointslice
from podwire.controllers.endpointslicemirroring import shell as endpointslicemirroring
from podwire.controllers.garbagecollector import shell as garbagecollector
from podwire.controllers.job import shell as job
from podwire.controllers.namespace import shell as namespace
from podwire.controllers.nodeipam import shell as nodeipam
from podwire.controllers.nodelifecycle import shell as nodelifecycle
from podwire.controllers.persistentvolume import shell as persistentvolume
from podwire.controllers.podautoscaler import shell as podautoscaler
from podwire.controllers.podgc import shell as podgc
from podwire.controllers.replicaset import shell as replicaset
from podwire.controllers.resourcequota import shell as resourcequota
from podwire.controllers.rootca import shell as rootca
from podwire.controllers.serviceaccount import shell as serviceaccount
from podwire.controllers.serviceaccounttoken import shell as serviceaccounttoken
from podwire.controllers.servicecidrs import shell as servicecidrs
from podwire.controllers.statefulset import shell as statefulset
from podwire.controllers.tainteviction import shell as tainteviction
from podwire.controllers.ttlafterfinished import shell as ttlafterfinished
from podwire.controllers.validatingadmissionpolicystatus import (
    shell as validatingadmissionpolicystatus,
)
from podwire.controllers.world import World

Build = Callable[[World], Driver]

CONTROLLERS: tuple[tuple[str, Build], ...] = (
    ("serviceaccount-controller", serviceaccount.build),
    ("serviceaccount-token-controller", serviceaccounttoken.build),
    ("root-ca-certificate-publisher-controller", rootca.build),
    ("certificatesigningrequest-controllers", certificates.build),
    ("node-ipam-controller", nodeipam.build),
    ("daemonset-controller", daemonset.build),
    ("job-controller", job.build),
    ("deployment-controller", deployment.build),
    ("replicaset-controller", replicaset.build),
    ("replicationcontroller-controller", replicaset.build_replication),
    ("statefulset-controller", statefulset.build),
    ("cronjob-controller", cronjob.build),
    ("ttl-after-finished-controller", ttlafterfinished.build),
    ("horizontal-pod-autoscaler-controller", podautoscaler.build),
    ("disruption-controller", disruption.build),
    ("endpoints-controller", endpoints.build),
    ("endpointslice-controller", endpointslice.build),
    ("endpointslice-mirroring-controller", endpointslicemirroring.build),
    ("persistentvolume-binder-controller", persistentvolume.build),
    ("resourcequota-controller", resourcequota.build),
    ("service-cidr-controller", servicecidrs.build),
    ("node-lifecycle-controller", nodelifecycle.build),
    ("taint-eviction-controller", tainteviction.build),
    ("pod-garbage-collector-controller", podgc.build),
    ("namespace-controller", namespace.build),
    ("clusterrole-aggregation-controller", clusterroleaggregation.build),
    ("validatingadmissionpolicy-status-controller", validatingadmissionpolicystatus.build),
    ("garbage-collector-controller", garbagecollector.build),
)
"""Name and builder, in order of start."""

ACCOUNTS: dict[str, str] = {
    "serviceaccount-controller": "service-account-controller",
    "root-ca-certificate-publisher-controller": "root-ca-cert-publisher",
    "certificatesigningrequest-controllers": "certificate-controller",
    "node-ipam-controller": "node-controller",
    "daemonset-controller": "daemon-set-controller",
    "replicationcontroller-controller": "replication-controller",
    "horizontal-pod-autoscaler-controller": "horizontal-pod-autoscaler",
    "endpoints-controller": "endpoint-controller",
    "endpointslice-mirroring-controller": "endpointslicemirroring-controller",
    "service-cidr-controller": "service-cidrs-controller",
    "node-lifecycle-controller": "node-controller",
    "taint-eviction-controller": "node-controller",
    "pod-garbage-collector-controller": "pod-garbage-collector",
    "garbage-collector-controller": "generic-garbage-collector",
    "persistentvolume-binder-controller": "persistent-volume-binder",
    "serviceaccount-token-controller": "",
}
"""The service account of kube-system as which a controller writes, where it is not called as the
controller is; "": it writes as the manager itself. Source: kubernetes cmd/kube-controller-manager
(--use-service-account-credentials, as kubeadm sets it).
"""


def account_of(name: str) -> str:
    """The service account of a controller."""
    return ACCOUNTS.get(name, name)
