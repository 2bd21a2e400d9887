"""The plugin "binaries" of /opt/cni/bin, one file each. They keep no state of their own."""
