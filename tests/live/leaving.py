"""A server that goes away while it is needed: an address through which a real one answers, until it is shut."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

ASKED = b"POST /upload/image"  # with what a client begins the next image prompt
CHUNK = 2**16


class Door:
    """What is sent to it goes to the server, and back, until a client has begun so many image prompts."""

    def __init__(self, url: str, prompts: int) -> None:
        place = urlsplit(url)
        self.behind = (place.hostname, place.port)
        self.left = prompts
        self.writers: list[asyncio.StreamWriter] = []

    async def open(self) -> int:
        """The port on which it answers."""
        self.listening = await asyncio.start_server(self.let_in, "127.0.0.1", 0)
        return int(self.listening.sockets[0].getsockname()[1])

    async def let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(*self.behind)
        self.writers += [writer, ours]
        await asyncio.gather(self.pass_on(reader, ours, ASKED), self.pass_on(theirs, writer, b""))

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counted: bytes) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if counted and counted in data:
                    self.left -= 1
                if self.left < 0:
                    self.shut()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()

    def shut(self) -> None:
        """As a machine that loses its power."""
        self.listening.close()
        for writer in self.writers:
            writer.transport.abort()


@contextmanager
def leaving(url: str, prompts: int) -> Iterator[str]:
    """The address of a server that draws so many image prompts and is gone as the next one comes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        door = Door(url, prompts)
        yield f"http://127.0.0.1:{asyncio.run_coroutine_threadsafe(door.open(), loop).result()}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
