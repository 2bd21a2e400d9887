"""The commands of modelled containers: one file per tool or family, each with ``run(command)``."""

from __future__ import annotations

_NETWORK = (
    "arp", "bridge", "cilium-dbg", "conntrack", "ethtool", "ifconfig", "ip", "ip6tables",
    "ip6tables-save", "ipset", "iptables", "iptables-legacy", "iptables-nft", "iptables-save",
    "ipvsadm", "ipvsadm-restore", "ipvsadm-save", "netstat", "nft", "route", "ss", "sysctl", "tc",
)  # fmt: skip
"""Run by the fabric in the pod's network namespace."""

_OWN_FILE = (
    "awk", "cat", "chroot", "cp", "curl", "cut", "date", "dd", "dig", "echo", "env", "expr",
    "find", "getent", "grep", "head", "host", "hostname", "httpd", "id", "iperf3", "kill", "ls",
    "mtr", "nc", "nslookup", "ping", "printf", "ps", "sed", "seq", "sh", "sleep", "sort", "stat",
    "stty", "tail", "tar", "tcpdump", "tee", "telnet", "test", "timeout", "touch", "tr",
    "tracepath", "traceroute",
    "uname", "uniq", "uptime", "wc", "wget", "xargs", "yes",
)  # fmt: skip
_SUMS = ("base64", "md5sum", "sha1sum", "sha256sum", "sha512sum")

_ALIASES = {
    "true": "status", "false": "status", "[": "test", "bash": "sh", "ash": "sh", "zsh": "sh",
    "dash": "sh", "printenv": "env", "whoami": "id", "egrep": "grep", "fgrep": "grep",
    "netcat": "nc", "ping6": "ping", "traceroute6": "traceroute", "tracepath6": "tracepath",
    "which": "which", "readlink": "stat",
    "nproc": "uname", "rm": "rm", "mkdir": "mkdir", "mv": "cp", "tput": "stty",
    "gawk": "awk", "mawk": "awk", "tac": "lines", "rev": "lines", "nl": "lines",
    "busybox": "busybox", "basename": "names", "dirname": "names", "free": "memory",
    "nice": "timeout", "nohup": "timeout", "setsid": "timeout", "stdbuf": "timeout",
    "realpath": "names", "rmdir": "mkdir", "mktemp": "touch", "paste": "lines", "fold": "lines",
    "top": "memory", "df": "disks", "du": "disks", "chmod": "modes", "chown": "modes",
    "chgrp": "modes",
}  # fmt: skip

NODE_TOOLS = ("crictl", "journalctl", "nsenter")
"""Found on nodes only."""

TOOLS: dict[str, str] = {
    **dict.fromkeys(_NETWORK, "fabric"),
    **{name: name for name in _OWN_FILE},
    **dict.fromkeys(_SUMS, "sums"),
    **_ALIASES,
    **{name: name for name in NODE_TOOLS},
}
"""Command name -> module."""

UNMODELLED = (
    "apk", "apt", "apt-get", "cmp", "column", "comm", "ctr", "diff",
    "dmesg", "dpkg", "file", "ftp", "git", "gunzip", "gzip", "hexdump", "htop", "install", "jq",
    "kill", "killall", "less", "ln", "lsof", "lspci", "make", "more", "mount", "nano", "ncat",
    "nerdctl", "ngrep", "nmap", "od", "openssl", "patch", "perl", "pgrep", "pip", "pkill",
    "python", "python3", "readlink", "shuf", "socat", "split", "ssh", "stat", "strace", "strings",
    "su", "sudo", "sync", "systemctl", "tree", "tshark", "umount", "unzip", "vi", "vim", "watch",
    "xxd", "yum", "zcat",
)  # fmt: skip
"""What images of shells and tools may have and podwire does not: said so, not "not found"."""

SERVER_TOOLS = (
    "awk", "mawk", "expr", "tac", "nl", "sh", "bash", "dash", "cat", "ls", "echo", "printf", "env",
    "printenv", "grep", "egrep",
    "fgrep", "head", "tail", "sed", "sort", "uniq", "wc", "tr", "cut", "seq", "sleep", "date",
    "kill", "stat", "readlink",
    "hostname", "id", "whoami", "uname", "nproc", "test", "[", "true", "false", "basename",
    "dirname", "tee", "touch", "rm", "mkdir", "curl", "getent", "timeout", "xargs", "which", "yes",
    "df", "du", "find", "nice", "nohup", "realpath", "rmdir", "mktemp", "paste", "fold", "rev",
    "tar", "dd", "cp", "mv", "stty", "tput", "chmod", "chown", "chgrp", *_SUMS,
)  # fmt: skip
"""What a Debian-based server image has: no dig, no ip, no ping, no ps."""
