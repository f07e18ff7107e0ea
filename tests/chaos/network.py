"""The network between the processes of a test: TCP proxies that can be cut, slowed and reset for any two of them.

Everybody, the brokers themselves included, reaches a broker at a port of ours. Who called is known from the operating
system (Linux): the process that owns the other end of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterable

CHUNK = 65_536
_NETLINK_SOCK_DIAG, _BY_FAMILY = 4, 20


class _Link:
    """What goes on between two processes. `cuts`: how many faults keep it cut; `delays`: seconds for each piece of
    data, of each fault that makes it slow."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.cuts = 0
        self.delays: list[float] = []
        self.connections: set[asyncio.StreamWriter] = set()

    async def gate(self) -> None:
        if self.delays:
            await asyncio.sleep(sum(self.delays))
        await self.open.wait()

    def change(self, cuts: int) -> None:
        self.cuts += cuts
        if self.cuts:
            self.open.clear()
        else:
            self.open.set()


class Network:
    """Proxies in a thread of their own. Names are those of processes: `engine-0`, `broker-1`, ..."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._links: dict[frozenset[str], _Link] = {}
        self._processes: dict[str, int] = {}
        self._servers: list[asyncio.Server] = []
        self._thread.start()

    def close(self) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def know(self, name: str, pid: int) -> None:
        """This process is the one of that name from now on."""
        self._processes[name] = pid

    def publish(self, name: str, port: int) -> int:
        """A new port, at which others reach the process `name`, that listens at `port` of 127.0.0.1."""
        return self._call(self._listen(name, port))

    def cut(self, pairs: Iterable[frozenset[str]]) -> None:
        """Nothing goes on between these any more, in either direction; connections stay, and new ones hang."""
        self._call(self._cut(list(pairs)))

    def slow(self, pairs: Iterable[frozenset[str]], seconds: float) -> None:
        """Everything between these comes later."""
        self._call(self._slow(list(pairs), seconds))

    def heal(self, pairs: Iterable[frozenset[str]], seconds: float | None = None, *, reset: bool) -> None:
        """One `cut` of these is over, or one `slow` by so many seconds. `reset`: their connections break; else, what
        was sent meanwhile arrives."""
        self._call(self._heal(list(pairs), seconds, reset))

    # ------------------------------------------------------------ in the thread

    def _call(self, what):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    def _link(self, pair: frozenset[str]) -> _Link:
        return self._links.setdefault(pair, _Link())

    async def _listen(self, name: str, port: int) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(name, reader, writer, port)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=CHUNK)
        self._servers.append(server)
        number: int = server.sockets[0].getsockname()[1]
        return number

    async def _cut(self, pairs: list[frozenset[str]]) -> None:
        for pair in pairs:
            self._link(pair).change(1)

    async def _slow(self, pairs: list[frozenset[str]], seconds: float) -> None:
        for pair in pairs:
            self._link(pair).delays.append(seconds)

    async def _heal(self, pairs: list[frozenset[str]], seconds: float | None, reset: bool) -> None:
        for link in map(self._link, pairs):
            if reset:
                for connection in link.connections:
                    _reset(connection)
            if seconds is None:
                link.change(-1)
            else:
                link.delays.remove(seconds)

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK)
        except OSError:  # nobody listens
            _reset(writer)
            return
        ours = writer.get_extra_info("sockname")[1], writer.get_extra_info("peername")[1]
        link = self._link(frozenset((self._caller(ours[1], ours[0]), name)))
        both = {writer, there_writer}
        link.connections |= both
        try:
            await asyncio.gather(_pump(link, reader, there_writer), _pump(link, there_reader, writer))
        except OSError:
            pass
        finally:
            link.connections -= both
            for end in both:
                end.transport.abort()

    def _caller(self, port: int, listening: int) -> str:
        """The name of the process that has a connection from this port. Others have none, and are never cut off."""
        inode = _inode(port, listening)
        if inode:
            for name, pid in sorted(self._processes.items(), reverse=True):  # brokers, with their many files, last
                if _has_open(pid, f"socket:[{inode}]"):
                    return name
        return ""


async def _pump(link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        await link.gate()
        writer.write(data)
        await writer.drain()
    await link.gate()
    raise ConnectionResetError  # one end is gone: so is the other


def _reset(connection: asyncio.StreamWriter) -> None:
    """Break it, as one whose other end does not know it."""
    own: socket.socket = connection.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def _inode(port: int, listening: int) -> int:
    """The socket that is connected from `port` to the port where we listen; asked of the kernel, which knows it by both
    (`man 7 sock_diag`). 0: it is gone."""
    here = socket.inet_aton("127.0.0.1").ljust(16, b"\0")
    which = struct.pack("!HH", port, listening) + here + here + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    ask = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + which
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(ask), _BY_FAMILY, 1, 0, 0) + ask)
        answer = kernel.recv(1024)
    [kind] = struct.unpack_from("=H", answer, 4)
    inode: int = struct.unpack_from("=I", answer, 16 + 68)[0] if kind == _BY_FAMILY else 0
    return inode


def _has_open(pid: int, what: str) -> bool:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):  # the process has ended
        for descriptor in reversed(os.listdir(folder)):  # the latest
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{descriptor}") == what:
                    return True
    return False


__all__ = ["Network"]
