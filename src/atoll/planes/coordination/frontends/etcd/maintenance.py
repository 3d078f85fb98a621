"""Maintenance: Status, Alarm, Hash, HashKV, Defragment, Snapshot, MoveLeader.

One rule: what reads or moves all of the store is for admins, and refuses others as etcd does (UNKNOWN, ``auth:``).

Two things are Atoll's own. A snapshot is a backup of Atoll's file, followed, as in etcd, by its SHA-256: it is
restored by ``atoll store restore``, not by etcd. A hash is CRC-32 over the keys as they are at a revision, so it
is equal for equal contents but never equal to etcd's. The doubt: a hash reads all keys at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from atoll.errors import AtollError, Code
from atoll.planes.coordination.frontends.etcd.errors import maintenance_status_of, status_of
from atoll.planes.coordination.frontends.etcd.node import (
    VERSION,
    Node,
    Refused,
    callback_route,
    stream_route,
    task_route,
)
from atoll.runtime import loop
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route
from atoll.store import api
from atoll.store.decider import NO_SPACE_ALARM
from atoll.store.embedded import Embedded
from atoll.wire.etcd import messages
from atoll.wire.grpc.status import Status

SNAPSHOT_CHUNK_BYTES = 262_144

NO_SPACE = messages.AlarmType.Value("NOSPACE")


class Maintenance:
    def __init__(self, node: Node, store: Embedded) -> None:
        self._node = node
        self._gate = node.gate
        self._store = store

    def routes(self) -> dict[str, Route]:
        return dict(
            [
                task_route("Maintenance.Status", self.status),
                callback_route("Maintenance.Alarm", self.alarm),
                task_route("Maintenance.Hash", self.hash),
                task_route("Maintenance.HashKV", self.hash_kv),
                task_route("Maintenance.Defragment", self.defragment),
                stream_route("Maintenance.Snapshot", self.snapshot),
                callback_route("Maintenance.MoveLeader", self.move_leader),
            ]
        )

    async def status(self, call: Call, request: Any) -> bytes:
        status = await self._node.store.status()
        identity = self._node.identity
        body: bytes = messages.StatusResponse(
            version=VERSION,
            dbSize=status.size_bytes,
            dbSizeInUse=status.size_in_use_bytes,
            leader=identity.member_id,
            raftIndex=status.revision,
            raftAppliedIndex=status.revision,
            raftTerm=identity.raft_term,
            errors=[f"memberID:{identity.member_id} alarm:{name} " for name in status.alarms],
        ).SerializeToString()
        return self._node.header(status.revision) + body

    def alarm(self, call: Call, request: Any) -> None:
        """Answers have no header, as in etcd. The alarms are this member's, whichever the request names."""
        try:
            user = self._gate.user_of(call)
            if request.action != messages.AlarmRequest.GET:
                self._gate.authority.require_known(user)
        except AtollError as error:
            call.fail(*maintenance_status_of(error))
            return
        raised = self._act(request.action, request.alarm)
        if raised is None:
            text = f"etcdserver: alarm {request.alarm} cannot be raised or cleared here; NOSPACE (1) can"
            call.fail(Status.INVALID_ARGUMENT, text)
            return
        member = messages.AlarmMember(memberID=self._node.identity.member_id, alarm=NO_SPACE)
        call.reply(messages.AlarmResponse(alarms=[member] if raised else []).SerializeToString())

    def _act(self, action: int, alarm: int) -> bool | None:
        """Whether to answer with the NOSPACE alarm; None for what cannot be done."""
        if action == messages.AlarmRequest.GET:
            return alarm in (0, NO_SPACE) and NO_SPACE_ALARM in self._store.alarms()
        if alarm != NO_SPACE:
            return None
        if action == messages.AlarmRequest.ACTIVATE:
            self._store.arm(NO_SPACE_ALARM)
            return True
        return self._store.disarm(NO_SPACE_ALARM) if action == messages.AlarmRequest.DEACTIVATE else None

    async def hash(self, call: Call, request: Any) -> bytes:
        self._require_admin(call)
        revision, checksum = await self._hash(0)
        body: bytes = messages.HashResponse(hash=checksum).SerializeToString()
        return self._node.header(revision) + body

    async def hash_kv(self, call: Call, request: Any) -> bytes:
        self._require_admin(call)
        revision, checksum = await self._hash(request.revision)
        compact_revision = (await self._node.store.status()).compact_revision
        body: bytes = messages.HashKVResponse(
            hash=checksum, compact_revision=compact_revision or -1
        ).SerializeToString()
        return self._node.header(revision) + body

    async def defragment(self, call: Call, request: Any) -> bytes:
        self._require_admin(call)
        await loop.in_thread(self._store.defragment)
        return b""

    async def snapshot(self, call: Call) -> None:
        await call.receive()
        self._require_admin(call)
        try:
            snapshot = await loop.in_thread(self._store.snapshot)
        except AtollError as error:
            if error.code is Code.INVALID:
                raise Refused(Status.UNIMPLEMENTED, f"etcdserver: {error.message}") from error
            raise
        try:
            remaining_bytes = snapshot.size_bytes
            while remaining_bytes:
                blob = await loop.in_thread(snapshot.read, SNAPSHOT_CHUNK_BYTES)
                remaining_bytes -= len(blob)
                await call.send(_chunk(blob, remaining_bytes))
            await call.send(_chunk(snapshot.sha256, 0))
        finally:
            snapshot.close()

    def move_leader(self, call: Call, request: Any) -> None:
        call.fail(Status.FAILED_PRECONDITION, "etcdserver: bad leader transferee")

    def _require_admin(self, call: Call) -> None:
        try:
            self._gate.authority.require_admin(self._gate.user_of(call))
        except AtollError as error:
            raise Refused(*maintenance_status_of(error)) from error

    async def _hash(self, revision: int) -> tuple[int, int]:
        """The store's revision and the checksum of the keys as they are at ``revision`` (0: now)."""
        try:
            result = await self._node.store.range(api.Range(b"\0", b"\0", revision=revision))
        except AtollError as error:
            raise Refused(*status_of(error)) from error
        return result.revision, await loop.in_thread(_checksum, result.kvs)


def _chunk(blob: bytes, remaining_bytes: int) -> bytes:
    chunk: bytes = messages.SnapshotResponse(blob=blob, remaining_bytes=remaining_bytes).SerializeToString()
    return chunk


def _checksum(kvs: Sequence[api.KeyValue]) -> int:
    checksum = 0
    for kv in kvs:
        numbers = b"%d %d %d %d\n" % (kv.create_revision, kv.mod_revision, kv.version, kv.lease)
        checksum = zlib.crc32(kv.key + b"\0" + kv.value + numbers, checksum)
    return checksum
