"""The token that proves to etcd who this client is: wanted, being fetched, in use, refused. A machine.

One rule: a token that was refused is never used again, and a refusal of an older token does not cost the newer.
Without a user no token is needed. etcd without authentication answers a login with an error; that is success
here, with an empty token, as with etcd's own client. etcd 3.4's simple tokens end 5 minutes after their last use
and with a restart of the member, so a refusal is ordinary.
"""

from __future__ import annotations

from atoll.errors import AtollError
from atoll.store import etcd_errors
from atoll.store.etcd_errors import Failure

RETRY_S = 0.2  # between logins that failed for another reason than the credentials

_NOT_ENABLED = "etcdserver: authentication is not enabled"


class Token:
    """``value`` is what a call carries; use it only while ``ready``."""

    def __init__(self, *, needed: bool) -> None:
        self.value = ""
        self._needed = needed
        self._have = False
        self._fetching = False
        self._not_before_s = float("-inf")

    @property
    def ready(self) -> bool:
        return not self._needed or self._have

    def fetch(self, now_s: float) -> bool:
        """True once: log in now, and tell the outcome by ``granted`` or ``failed``."""
        if self.ready or self._fetching or now_s < self._not_before_s:
            return False
        self._fetching = True
        return True

    def granted(self, value: str) -> None:
        self.value = value
        self._have = True
        self._fetching = False

    def next_due_s(self) -> float | None:
        """When ``fetch`` may say True again, while a token is wanted."""
        return None if self.ready or self._fetching else self._not_before_s

    def failed(self, failure: Failure, now_s: float) -> AtollError | None:
        """None: try again (or nothing to do); otherwise the credentials are wrong and waiting is in vain."""
        self._fetching = False
        self._not_before_s = now_s + RETRY_S
        if failure.text == _NOT_ENABLED:
            self.granted("")
            return None
        judgement = etcd_errors.judge(failure, writes=False)
        return judgement.error if judgement.again is etcd_errors.Again.NEVER else None

    def refused(self, value: str) -> None:
        if value == self.value:
            self._have = False
