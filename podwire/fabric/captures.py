"""Captures: frames as they pass a device, bounded for those who read slowly."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator

from podwire.client.counters import CapturedFrame
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import Frame
from podwire.fabric.frames import encode
from podwire.runtime.ports import Clock
from podwire.runtime.tasks import Event

MOST_BYTES = 2 * 1024 * 1024
"""libpcap's default buffer: what does not fit is dropped."""


async def frames(
    kernel: Kernel, netns: str, device: str, clock: Clock
) -> AsyncGenerator[CapturedFrame, None]:
    """Frames from now on until the iterator is closed."""
    held: deque[CapturedFrame] = deque()
    news = Event()
    waiting_bytes = 0

    def tap(name: str, direction: str, frame: Frame) -> None:
        nonlocal waiting_bytes
        if device not in {"any", name} or waiting_bytes > MOST_BYTES:
            return
        data = encode(frame)
        waiting_bytes += len(data)
        held.append(CapturedFrame(name, direction, data, clock.now_ns()))
        news.set()

    kernel.taps.setdefault(netns, []).append(tap)
    try:
        yield CapturedFrame(device, "", b"", clock.now_ns())
        while True:
            while held:
                seen = held.popleft()
                waiting_bytes -= len(seen.data)
                yield seen
            news.clear()
            await news.wait()
    finally:
        taps = kernel.taps.get(netns, [])
        if tap in taps:
            taps.remove(tap)
        if not taps:
            kernel.taps.pop(netns, None)
