"""What one can do with PyPI's etcd3 0.12.0, in one session; prints a line of JSON for each step.

python etcd3_session.py HOST PORT          without authentication
python etcd3_session.py HOST PORT NAME PASSWORD    as a user that may use keys below "mine/"
"""

import io
import json
import sys
from collections.abc import Sequence

import etcd3
import grpc
from etcd3.client import KVMetadata
from etcd3.events import Event
from etcd3.exceptions import Etcd3Exception
from google.protobuf.message import Message

STEPS = []


def step(function):
    STEPS.append(function)
    return function


def show(value):
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, KVMetadata):
        names = ("key", "create_revision", "mod_revision", "version", "lease_id")
        return [show(getattr(value, name)) for name in names]
    if isinstance(value, Event):
        return [type(value).__name__, show(value.key), show(value.value), value.mod_revision]
    if isinstance(value, Message):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [show(one) for one in value]
    return value


@step
def keys(client):
    client.put("mine/a", "1")
    client.put("mine/b", "2", prev_kv=True)
    yield client.get("mine/a")
    yield client.get("mine/none")
    yield list(client.get_prefix("mine/"))
    yield list(client.get_prefix("mine/", sort_order="descend", keys_only=True))
    yield list(client.get_range("mine/a", "mine/b"))
    yield client.put_if_not_exists("mine/a", "x"), client.put_if_not_exists("mine/c", "3")
    yield client.replace("mine/c", "3", "4"), client.replace("mine/c", "3", "5")
    yield client.delete("mine/c"), client.delete("mine/c")
    yield client.delete_prefix("mine/").deleted


@step
def transactions(client):
    of = client.transactions
    yield client.transaction(
        compare=[of.version("mine/t") == 0],
        success=[of.put("mine/t", "1"), of.get("mine/t")],
        failure=[of.delete("mine/t")],
    )
    yield client.transaction(
        compare=[of.value("mine/t") == "1", of.create("mine/t") > 0, of.mod("mine/t") > 0],
        success=[of.put("mine/t", "2", prev_kv=True), of.delete("mine/none", prev_kv=True)],
        failure=[],
    )
    yield client.transaction(
        compare=[of.version("mine/t") < 1],
        success=[],
        failure=[of.get("mine/t"), of.txn([of.value("mine/t") == "2"], [of.get("mine/t")], [])],
    )
    yield client.delete("mine/t")


@step
def watches(client):
    events, cancel = client.watch_prefix("mine/w")
    client.put("mine/w1", "1")
    client.put("mine/w1", "2")
    client.delete("mine/w1")
    yield [next(events) for _ in range(3)]
    first = client.put("mine/w2", "3").header.revision
    yield next(events)
    cancel()
    events, cancel = client.watch("mine/w1", start_revision=first - 3, prev_kv=True)
    yield [next(events) for _ in range(3)]
    cancel()


@step
def leases(client):
    lease = client.lease(60, lease_id=4242)
    client.put("mine/l", "1", lease=lease)
    yield lease.id, lease.granted_ttl, 0 < lease.remaining_ttl <= 60, lease.keys
    yield [(answer.ID, answer.TTL) for answer in lease.refresh()]
    lease.revoke()
    yield client.get("mine/l")
    yield [(answer.ID, answer.TTL) for answer in client.refresh_lease(4242)]
    yield client.get_lease_info(4242).TTL


@step
def locks(client):
    lock = client.lock("mine", ttl=30)
    yield lock.acquire(), lock.is_acquired()
    other = client.lock("mine", ttl=30)  # it cannot wait for one that is held: its tenacity is too old for it
    yield lock.release(), other.acquire(), other.release()


@step
def errors(client):
    yield client.put("", "x")


@step
def errors_of_leases(client):
    yield client.put("mine/x", "1", lease=987654)


@step
def foreign_keys(client):
    yield client.get("theirs")[0]


@step
def compaction(client):
    revision = client.put("mine/z", "1").header.revision
    client.put("mine/z", "2")
    client.compact(revision + 1)
    events, cancel = client.watch("mine/z", start_revision=revision)
    try:
        yield next(events)
    finally:
        cancel()


@step
def compaction_twice(client):
    yield client.compact(2)


@step
def upkeep(client):
    yield [alarm.alarm_type for alarm in client.list_alarms()]
    status = client.status()
    yield status.leader is not None, status.version
    yield len(list(client.members))
    client.defragment()
    file = io.BytesIO()
    client.snapshot(file)
    yield len(file.getvalue()) > 32


def main():
    host, port, *user = sys.argv[1:]
    access = dict(zip(("user", "password"), user, strict=False))
    client = etcd3.client(host=host, port=int(port), timeout=10, **access)
    for function in STEPS:
        try:
            for value in function(client):
                print(json.dumps([function.__name__, show(value)]), flush=True)
        except (grpc.RpcError, Etcd3Exception) as error:  # the client's wrapping of errors is compared too
            text = error.details() if isinstance(error, grpc.RpcError) else str(error)
            print(json.dumps([function.__name__, type(error).__name__, text]), flush=True)


if __name__ == "__main__":
    main()
