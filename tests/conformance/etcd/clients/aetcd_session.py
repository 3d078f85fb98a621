"""What one can do with PyPI's aetcd 1.0.0 (asyncio), in one session; prints a line of JSON for each step.

python aetcd_session.py HOST PORT          without authentication
python aetcd_session.py HOST PORT NAME PASSWORD    as a user that may use keys below "mine/"
"""

import asyncio
import io
import json
import sys
from collections.abc import Sequence

import aetcd
from google.protobuf.message import Message

SEQUENCES = (Sequence, aetcd.rtypes.GetRange, aetcd.rtypes.DeleteRange)
STEPS = []


def step(function):
    STEPS.append(function)
    return function


def show(value):
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, aetcd.rtypes.KeyValue):
        names = ("key", "value", "create_revision", "mod_revision", "version", "lease")
        return [show(getattr(value, name)) for name in names]
    if isinstance(value, aetcd.rtypes.Event):
        return [str(value.kind), show(value.kv)]
    if isinstance(value, aetcd.rtypes.Delete):
        return [value.deleted, show(value.prev_kv)]
    if isinstance(value, Message):
        return str(value)
    if isinstance(value, SEQUENCES) and not isinstance(value, str):
        return [show(one) for one in value]
    return value


@step
async def keys(client):
    await client.put(b"mine/a", b"1")
    yield (await client.put(b"mine/a", b"2", prev_kv=True)).prev_kv
    await client.put(b"mine/b", b"2")
    for key in (b"mine/a", b"mine/none"):
        yield await client.get(key)
    yield await client.get_prefix(b"mine/")
    yield await client.get_prefix(b"mine/", sort_order="descend", sort_target="mod")
    yield await client.get_range(b"mine/a", b"mine/b")
    yield await client.replace(b"mine/b", b"2", b"4"), await client.replace(b"mine/b", b"2", b"5")
    yield await client.delete(b"mine/b", prev_kv=True), await client.delete(b"mine/b")
    yield await client.delete_prefix(b"mine/", prev_kv=True)


@step
async def transactions(client):
    of = client.transactions
    yield await client.transaction(
        compare=[of.version(b"mine/t") == 0],
        success=[of.put(b"mine/t", b"1"), of.get(b"mine/t")],
        failure=[of.delete(b"mine/t")],
    )
    yield await client.transaction(
        compare=[of.value(b"mine/t") == b"1", of.create(b"mine/t") > 0, of.mod(b"mine/t") > 0],
        success=[of.put(b"mine/t", b"2"), of.delete(b"mine/none")],
        failure=[],
    )
    yield await client.transaction(
        compare=[of.version(b"mine/t") < 1], success=[], failure=[of.get(b"mine/t")]
    )
    yield await client.delete(b"mine/t")


@step
async def watches(client):
    watch = await client.watch_prefix(b"mine/w", prev_kv=True)
    events = aiter(watch)
    await client.put(b"mine/w1", b"1")
    await client.put(b"mine/w1", b"2")
    await client.delete(b"mine/w1")
    yield [await anext(events) for _ in range(3)]
    await watch.cancel()


@step
async def leases(client):
    lease = await client.lease(60, lease_id=4343)
    await client.put(b"mine/l", b"1", lease=lease)
    remaining = await lease.remaining_ttl()
    yield lease.id, await lease.granted_ttl(), 0 < remaining <= 60, await lease.keys()
    yield (await lease.refresh()).TTL
    await lease.revoke()
    yield await client.get(b"mine/l")
    yield (await client.get_lease_info(4343)).TTL


@step
async def locks(client):
    lock = client.lock(b"mine/lock", ttl=30)
    yield await lock.acquire(), await lock.is_acquired()
    other = client.lock(b"mine/lock", ttl=30)
    yield await other.acquire(timeout=1)
    yield await lock.release(), await other.acquire(timeout=5), await other.release()


@step
async def errors(client):
    yield await client.put(b"", b"x")


@step
async def errors_of_leases(client):
    yield await client.put(b"mine/x", b"1", lease=987654)


@step
async def foreign_keys(client):
    yield await client.get(b"theirs")


@step
async def compaction(client):
    await client.put(b"mine/z", b"1")
    await client.compact(2)
    yield "compacted"
    await client.compact(2)


@step
async def upkeep(client):
    yield [alarm async for alarm in client.list_alarms()]
    yield (await client.status()).version
    await client.defragment()
    file = io.BytesIO()
    await client.snapshot(file)
    yield len(file.getvalue()) > 32


async def main():
    host, port, *user = sys.argv[1:]
    access = dict(zip(("username", "password"), user, strict=False))
    async with aetcd.Client(host=host, port=int(port), timeout=10, **access) as client:
        for function in STEPS:
            try:
                async for value in function(client):
                    print(json.dumps([function.__name__, show(value)]), flush=True)
            except aetcd.exceptions.ClientError as error:  # the client's wrapping of errors is compared too
                print(json.dumps([function.__name__, type(error).__name__, str(error)]), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
