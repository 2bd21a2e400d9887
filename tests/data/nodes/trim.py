"""Leaves out of a dump's ``sysctl net`` the thousand parameters that podwire does not model."""

import sys

from podwire.dataplane.sysctl import Sysctls

known, section = Sysctls(), ""
for line in sys.stdin:
    if line.startswith("==== podwire "):
        section = line.split()[2]
        sys.stdout.write(line)
    elif section != "sysctl" or "=" not in line or known.known(line.partition("=")[0].strip()):
        sys.stdout.write(line)
