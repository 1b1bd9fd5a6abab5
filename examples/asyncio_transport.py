"""One server and five clients over TCP on this machine; client 3 vanishes in the middle.

A frame travels behind its length, u32 big-endian. A connection opens with the client's id, u32.
Every frame is signed, so a false id only gets its frames discarded; in production add TLS, so
that nobody can take another's connection away.
"""

from __future__ import annotations

import asyncio
import os

import numpy as np

from protocols import ClientJournal, ClientRound, Invitation, Result, ServerRound, model_digest
from protocols.presets import malicious_safe
from secagg import SERVER, DecodeError, Failed, Identity, Roster, SecAggError
from secagg.frame import OVERHEAD
from secagg.quantize import NormClip
from secagg.scheme import Scheme
from secagg.wire import Message, size_bound

PHASE_SECONDS = 2.0  # how long the server waits for a phase
PATIENCE_SECONDS = 3 * PHASE_SECONDS  # how long a client waits for the server


def largest(scheme: Scheme, kinds: tuple[type[Message], ...]) -> int:
    """No frame of these kinds has more bytes: whatever claims more is refused unread."""
    return OVERHEAD + max(size_bound(kind, scheme.limits) for kind in kinds)


def send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    """Queue a frame; without `drain`, so that one slow peer does not hold up the others."""
    if not writer.is_closing():
        writer.write(len(frame).to_bytes(4, "big") + frame)


async def read(reader: asyncio.StreamReader, most: int) -> bytes:
    """The next frame; `EOFError` or `ConnectionError` when the peer is gone or floods."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > most:
        raise ConnectionError(f"a frame of {size} bytes, at most {most} are possible")
    return await reader.readexactly(size)


class Aggregator:
    """Feeds a `ServerRound` from connections, and ends its phases by the clock."""

    def __init__(self, round: ServerRound) -> None:
        self.round = round
        self._most = largest(round.plan.scheme, round.plan.scheme.server_messages)
        self._frames: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(maxsize=1000)
        self._writers: dict[int, asyncio.StreamWriter] = {}

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from hello to the end; only `run` touches the round."""
        try:
            client = int.from_bytes(await reader.readexactly(4), "big")
            self._writers[client] = writer
            while True:
                await self._frames.put((client, await read(reader, self._most)))
        except (EOFError, ConnectionError):
            writer.close()  # what is due from this client will be missed at the deadline

    async def run(self) -> Result | Failed:
        """The end of the round."""
        clock = asyncio.get_running_loop().time
        phase, ends = "", 0.0
        while not self.round.ended:
            if self.round.phase != phase:
                phase, ends = self.round.phase, clock() + PHASE_SECONDS
            try:
                async with asyncio.timeout_at(ends):
                    client, frame = await self._frames.get()
            except TimeoutError:
                self.round.deadline()
            else:
                self.round.receive(client, frame)
            for client, frame in self.round.to_send():
                if client in self._writers:
                    send(self._writers[client], frame)
        for writer in self._writers.values():
            writer.close()  # whoever still waits learns that nothing more will come
        closing = (writer.wait_closed() for writer in self._writers.values())
        await asyncio.gather(*closing, return_exceptions=True)
        return self._verdict()

    def _verdict(self) -> Result | Failed:
        while not isinstance(event := self.round.next_event(), Result | Failed):
            print("server:", event)
        return event


async def participate(round: ClientRound, port: int, vanish_in: str | None = None) -> str:
    """One client, to its end; says how that was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(round.me.to_bytes(4, "big"))
    most = largest(round.plan.scheme, round.plan.scheme.client_messages)
    try:
        while True:
            if round.phase == vanish_in:
                return "vanished"
            for _, frame in round.to_send():
                send(writer, frame)
            await writer.drain()
            if round.ended:
                return "done"
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    round.receive(SERVER, await read(reader, most))
            except DecodeError:
                continue  # nobody's fault, and nothing has changed
            except (TimeoutError, EOFError, ConnectionError):
                round.deadline()  # raises Aborted
    except SecAggError as error:
        return f"stopped: {error}"
    finally:
        writer.close()


async def main() -> None:
    key = Identity.generate(os.urandom)
    keys = {i: Identity.generate(os.urandom) for i in range(1, 6)}
    roster = Roster(key.public, {i: own.public for i, own in keys.items()})
    model = np.zeros(3)
    plan = malicious_safe(model, clients=5, clip=NormClip(20.0), max_weight=10, dropout=0.2)
    invitation = Invitation(
        plan=plan, session=os.urandom(16), number=1, model=model_digest(model), roster=roster
    )
    aggregator = Aggregator(ServerRound(invitation, key))
    listener = await asyncio.start_server(aggregator.accept, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, asyncio.TaskGroup() as group:
        running = group.create_task(aggregator.run())
        tasks = {}
        for i, own in keys.items():
            client = ClientRound(invitation, own, i, journal=ClientJournal())
            client.submit(np.full(3, float(i)), weight=i)
            tasks[i] = group.create_task(participate(client, port, "masked" if i == 3 else None))
    verdict = running.result()
    print("clients:", {i: task.result() for i, task in tasks.items()})
    if isinstance(verdict, Failed):
        raise SystemExit(f"nothing was released: {verdict.error}")
    print("mean:", verdict.mean.round(3), "| in the sum:", sorted(verdict.included))


if __name__ == "__main__":
    asyncio.run(main())
