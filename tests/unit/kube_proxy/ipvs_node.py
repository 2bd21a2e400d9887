"""A modelled node that kube-proxy's IPVS mode programs, as its shell would."""

from podwire.dataplane import commands as c
from podwire.dataplane.kernel import Kernel
from podwire.kube_proxy.config import Config, IpvsConfig, RuleConfig
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.runtime.rng import SeededRng
from tests.unit.kube_proxy.conftest import feed

MODE = MODES["ipvs"]
SECOND = 1_000_000_000


def configured(scheduler="", cluster_cidr="", node_port_addresses=(), **extra):
    """A configuration of the mode."""
    rules = RuleConfig(min_sync_period_s=0.0, masquerade_all=extra.pop("masquerade_all", False))
    return Config(
        mode="ipvs",
        cluster_cidr=cluster_cidr,
        ipvs=rules,
        ipvs_only=IpvsConfig(scheduler=scheduler, **extra),
        node_port_addresses=tuple(node_port_addresses),
    )


class IpvsNode:
    """A kernel and the proxier of one family on it. ``kernel`` may be one of a laboratory."""

    def __init__(self, name, ips=(), family="ipv4", config=None, kernel=None, shared=None):
        self.kernel = kernel or Kernel(name, SeededRng(1, name))
        self.now = SECOND
        if kernel is None and ips:
            self.kernel.add_physical("eth0", "02:00:00:00:00:01")
            for ip in ips:
                length = 64 if ":" in ip else 24
                self.run(c.AddrAdd(dev="eth0", cidr=f"{ip}/{length}"))
        facts = NodeFacts(name, "zone-a", tuple(ips))
        settings = MODE.settings(config or configured(), facts, family)
        self.proxier = Proxier(MODE, settings, facts, shared or Shared(), family)
        self.run(*MODE.prepare(settings))

    def run(self, *commands):
        for command in commands:
            self.kernel.execute(command, self.now)

    def tool(self, *argv):
        """What a tool prints on the node."""
        out, err, code = self.kernel.tool("", list(argv), "", self.now)
        assert code == 0, err
        return out

    def ask(self, questions):
        answers = {}
        for argv in questions:
            out, _, code = self.kernel.tool("", list(argv), "", self.now)
            answers[argv] = "" if code else out
        return answers

    def feed(self, *objects):
        for item in objects:
            feed(self.proxier, item)

    def sync(self, *objects, full=False):
        """Feed objects, plan and carry out; the commands."""
        self.feed(*objects)
        full = full or self.proxier.programmed is None
        existing = self.ask(MODE.questions(self.proxier, full=full))
        plan = self.proxier.plan(full=full, existing=existing)
        if plan is None:
            return ()
        self.run(*plan.commands)
        self.proxier.committed(plan)
        return plan.commands

    def chore(self, name):
        """Do one round of a chore: what it found."""
        (chore,) = [each for each in MODE.chores(self.proxier) if each.name == name]
        done = chore.do(self.proxier, self.ask(chore.asks(self.proxier)))
        self.run(*done.commands)
        return done

    def servers(self):
        """Virtual servers and their real servers, as ``ipvsadm -Ln`` lists them."""
        found, current = {}, ""
        for line in self.tool("ipvsadm", "-Ln").splitlines()[3:]:
            words = line.split()
            if words[0] == "->":
                found[current].append(words[1])
            else:
                current = f"{words[0]} {words[1]}"
                found[current] = []
        return found

    def entries(self, name):
        """The members of a set, sorted."""
        lines = self.tool("ipset", "list", name).partition("Members:\n")[2]
        return sorted(lines.splitlines())

    def chain(self, name, table):
        """The rules of a chain, as iptables-save prints them after ``-A``."""
        tool = "ip6tables" if self.proxier.family == "ipv6" else "iptables"
        lines = self.tool(tool, "-t", table, "-S", name).splitlines()
        return [line.removeprefix(f"-A {name} ") for line in lines if line.startswith("-A ")]
