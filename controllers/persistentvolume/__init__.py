"""PersistentVolumes: binder, reclaimer, protection, and the local-path provisioner."""
