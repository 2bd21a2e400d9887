"""DaemonSet: one pod per node that fits; the scheduler binds it to the node it names."""
