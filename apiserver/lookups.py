"""Resolving a destination's name as the source would, each question on a fork."""

from __future__ import annotations

from dataclasses import dataclass

from podwire.apiserver.sources import Source
from podwire.client import dnstext, dnswire, resolver
from podwire.client.counters import Fabric, KubeletStreams, Resolver
from podwire.dataplane.verdict import Branch, WalkAnswer, WalkRequest
from podwire.explain.report import Asked, LookupReport

_DNS_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question that no answer came back to: its packet and how it went."""

    request: WalkRequest
    answer: WalkAnswer

    @property
    def branch(self) -> Branch:
        """The drawn branch."""
        return self.answer.drawn


class Lookups:
    """Looks names up for one source at a time."""

    def __init__(self, fabric: Fabric, kubelets: KubeletStreams) -> None:
        self._fabric = fabric
        self._kubelets = kubelets

    async def lookup(self, source: Source, name: str) -> tuple[LookupReport, Unanswered | None]:
        """The report, and the last question that went unanswered."""
        where = await self._resolver(source)
        conf = resolver.parse_resolv_conf(where.resolv_conf)
        asked: list[Asked] = []
        failed: list[Unanswered] = []

        async def exchange(
            questions: tuple[dnswire.Question, ...],
        ) -> list[dnswire.Message | None]:
            # The C library asks for A and AAAA from one port: both reach the same CoreDNS pod.
            draws: dict[str, float] = {}
            return [
                await self._ask(source, conf, question, draws, asked, failed)
                for question in questions
            ]

        lookup = resolver.Lookup(name, conf=conf, hosts=resolver.Hosts(where.hosts))
        result = await resolver.run(lookup, exchange)
        report = LookupReport(
            name=name,
            source=result.source,
            asked=asked,
            addresses=list(result.addresses),
            canonical=result.canonical,
            error=resolver.strerror(result.error) if result.error else "",
        )
        return report, failed[-1] if failed else None

    async def _resolver(self, source: Source) -> Resolver:
        if source.pod:
            return await self._kubelets.resolver(source.node, source.namespace, source.pod)
        conf = await self._fabric.read_file(source.node, "/etc/resolv.conf")
        hosts = await self._fabric.read_file(source.node, "/etc/hosts")
        return Resolver(source.node, "", source.address, conf.decode(), hosts.decode())

    async def _ask(
        self,
        source: Source,
        conf: resolver.ResolvConf,
        question: dnswire.Question,
        draws: dict[str, float],
        asked: list[Asked],
        failed: list[Unanswered],
    ) -> dnswire.Message | None:
        for server in conf.nameservers:
            payload = dnswire.query(question.name, question.type, len(asked) + 1)
            answer, reply = await self._fabric.ask_datagram(
                source.node, source.netns, server, 53, payload, _DNS_TIMEOUT_S, draws.get(server)
            )
            draws[server] = answer.draw
            branch = answer.drawn
            message = dnswire.decode(reply) if reply is not None else None
            if message is None:
                request = WalkRequest(
                    node=source.node,
                    netns=source.netns,
                    protocol="udp",
                    dst=server,
                    dst_port=53,
                    size_bytes=len(payload) + 28,
                )
                failed.append(Unanswered(request, answer))
            asked.append(
                Asked(
                    name=question.name,
                    type=dnstext.type_name(question.type),
                    server=server,
                    answered_by=branch.flow.dst if branch.flow and reply is not None else "",
                    rcode=dnstext.rcode_name(message.rcode) if message is not None else "",
                    answers=[dnstext.data_text(r) for r in message.answer] if message else [],
                    fate=branch.fate,
                )
            )
            if message is not None:
                return message
        return None
