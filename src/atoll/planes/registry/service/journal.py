"""What happened on this node, written down beside the work: the memory behind *explain* and *topology at time T*.

Rule: recording is an append to a bounded queue; it never blocks and never fails. What does not fit is counted, and the gap
itself is recorded, so that an explanation says what it cannot know.

A subject is written as in permissions and in the audit log: ``NAMESPACE:GROUP:naming/SERVICE`` and
``NAMESPACE:GROUP:config/DATA_ID`` (``str(grants.service(...))``, ``str(grants.config(...))``). A digest names one state of
it: a configuration's md5, a list's revision or checksum, as the frontends tell it to clients.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.store.event_log import EventLog, Kind


class Journal:
    """Every method returns at once; on the event loop."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def client_connected(self, client: str, detail: str) -> None:
        """``detail``: address, application, SDK version and user, for people."""
        self._log.record(Kind.CONNECTED, "", client, "", detail)

    def client_gone(self, client: str, detail: str) -> None:
        """``detail``: why, closed or lost."""
        self._log.record(Kind.GONE, "", client, "", detail)

    def changed(self, subject: str, digest: str, detail: str) -> None:
        """This node sees a new state of ``subject``. ``detail``: what changed and through whom."""
        self._log.record(Kind.CHANGED, subject, "", digest, detail)

    def subscribed(self, client: str, subject: str, digest: str) -> None:
        """``digest``: the state that was given at once, or that the client said it has; empty for none."""
        self._log.record(Kind.SUBSCRIBED, subject, client, digest, "")

    def unsubscribed(self, client: str, subject: str) -> None:
        self._log.record(Kind.UNSUBSCRIBED, subject, client, "", "")

    def pushed(self, client: str, subject: str, digest: str) -> None:
        """Sent to the client; not yet acknowledged."""
        self._log.record(Kind.PUSHED, subject, client, digest, "")

    def acknowledged(self, client: str, subject: str, digest: str) -> None:
        self._log.record(Kind.ACKNOWLEDGED, subject, client, digest, "")

    def push_failed(self, client: str, subject: str, digest: str, why: str) -> None:
        self._log.record(Kind.FAILED, subject, client, digest, why)

    def fetched(self, client: str, subject: str, digest: str) -> None:
        """The client asked and got this state; the same state again is not written again."""
        self._log.record_once(Kind.FETCHED, subject, client, digest)

    def instance(self, subject: str, instance: str, value: Mapping[str, object] | None) -> None:
        """An instance (``ip:port:cluster``) of a service is as ``value`` says from now on; None: it is gone."""
        text = "" if value is None else msgspec.json.encode(value).decode()
        self._log.record_instance(subject, instance, text)

    def close(self) -> None:
        """Write what is queued. Blocks."""
        self._log.close()
