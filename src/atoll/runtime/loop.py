"""The event loop, for everything above this package: start it, wait, bound a wait, leave it for a thread.

Rule: nobody above ``runtime`` imports asyncio; what they need of it is named here, in one word each.
uvloop where it exists (a dependency everywhere but on Windows), the standard loop otherwise.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from atoll.errors import AtollError, Code, Reason

T = TypeVar("T")

Event = asyncio.Event
Queue = asyncio.Queue
Lock = asyncio.Lock
Future = asyncio.Future
Cancelled = asyncio.CancelledError


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end on a fresh loop."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def new_future() -> asyncio.Future[Any]:
    """A future of the running loop."""
    return asyncio.get_running_loop().create_future()


async def sleep(duration_s: float) -> None:
    await asyncio.sleep(duration_s)


@asynccontextmanager
async def bounded(within_s: float, what: str) -> AsyncIterator[None]:
    """Give the block ``within_s`` seconds; then it is cancelled and UNAVAILABLE says that ``what`` took too long."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError as error:
        message = f"{what} took longer than {within_s:g} s"
        raise AtollError(Code.UNAVAILABLE, message, reason=Reason.TIMEOUT, retry_after_s=1.0) from error


async def each_within(
    items: AsyncGenerator[T, None], within_s: float | None, what: str
) -> AsyncGenerator[T, None]:
    """Each of ``items``, for ``within_s`` seconds in all; then UNAVAILABLE / TIMEOUT says that ``what`` took too
    long. None: for as long as it takes.
    """
    loop = asyncio.get_running_loop()
    end_s = None if within_s is None else loop.time() + within_s
    while True:
        try:
            async with asyncio.timeout_at(end_s):
                item = await anext(items, None)
        except TimeoutError as error:
            message = f"{what} took longer than {within_s:g} s"
            raise AtollError(Code.UNAVAILABLE, message, reason=Reason.TIMEOUT, retry_after_s=1.0) from error
        if item is None:
            return
        yield item


async def next_within(queue: asyncio.Queue[T], within_s: float) -> T | None:
    """The next item, or None when none came in ``within_s`` seconds (infinity: wait for ever)."""
    if not queue.empty():
        return queue.get_nowait()
    try:
        async with asyncio.timeout(None if within_s == float("inf") else max(within_s, 0.0)):
            return await queue.get()
    except TimeoutError:
        return None


async def wait_event(event: asyncio.Event, within_s: float | None) -> bool:
    """Wait until ``event`` is set; False when that did not happen in ``within_s`` seconds. None: for ever."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def wait_event_while(event: asyncio.Event, going: Coroutine[Any, Any, None], within_s: float) -> bool:
    """As ``wait_event``, but only while ``going`` goes on; it is cancelled when the wait is over. False as well when
    ``going`` ended first.
    """
    over = asyncio.ensure_future(going)
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((over, waiting), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        over.cancel()
    return event.is_set()


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run a blocking call in a thread; the loop goes on."""
    return await asyncio.to_thread(function, *arguments)


async def gather(*awaitables: Awaitable[T]) -> list[T]:
    return list(await asyncio.gather(*awaitables))


def call_from_thread(function: Callable[..., None]) -> Callable[..., None]:
    """``function`` of the running loop, callable from any thread: it runs on the loop, soon, in order."""
    loop = asyncio.get_running_loop()

    def call(*arguments: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(function, *arguments)

    return call
