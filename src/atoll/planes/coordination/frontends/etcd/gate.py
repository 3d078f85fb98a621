"""Who calls, and may they: the etcd API's door to ``access``.

One rule: every request on the store's data goes through ``Gate.decide``, whichever service it came in by, so that
there is one place that asks for permission, and it asks before the store decides. Without authentication that
costs a flag and a look for a token.

As in etcd 3.4 a token that is shown must be valid even while authentication is off.
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.access.checks import Authority, Use
from atoll.access.tokens import Tokens
from atoll.errors import AtollError
from atoll.resources.accounts import Accounts, Right
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call
from atoll.runtime.mailbox import Mailbox
from atoll.store import api, transaction


class Gate:
    """Lives on the event loop. ``done`` callbacks are called on the loop as well."""

    def __init__(self, driver: api.Driver, limits: api.Limits, clock: Clock) -> None:
        self.tokens = Tokens()
        self.authority = Authority(Accounts())
        self._driver = driver
        self._limits = limits
        self._clock = clock
        self._mailbox = Mailbox()

    def take(self, accounts: Accounts) -> None:
        """These accounts are in force from now on. Ends the tokens of users that went or have another password, and all of
        them when authentication goes off, whoever changed it.
        """
        before = self.authority.accounts
        self.authority = Authority(accounts)
        if before.enabled and not accounts.enabled:
            self.tokens.clear()
        for name, user in before.users.items():
            now = accounts.users.get(name)
            if now is None or now.password != user.password:
                self.tokens.forget_user(name)

    def token_of(self, call: Call) -> str | None:
        token = call.metadata("token")
        return token if token is not None else call.metadata("authorization")

    def user_of(self, call: Call) -> str:
        """The name behind the call's token, "" without one. Raises INVALID_TOKEN."""
        token = self.token_of(call)
        return "" if token is None else self.tokens.user_of(token, self._clock.now_s())

    def submit(self, request: api.Request, done: api.Done) -> None:
        """Straight to the store: for what needs no permission, or has it."""
        mailbox = self._mailbox
        self._driver.submit(request, lambda outcome: mailbox.post(done, outcome))

    def decide(self, call: Call, request: api.Operation, done: api.Done) -> None:
        """``request`` with the permissions of ``call``. Raises ``AtollError`` where it is refused at once."""
        if not self.authority.enabled and self.token_of(call) is None:
            self.submit(request, done)
        else:
            transaction.check(request, self._limits)  # what is wrong for everybody comes first, as in etcd
            self._checked(self.user_of(call), request, done)

    def require_lease(self, user: str, lease: int, right: Right, done: api.Done) -> None:
        """``done`` gets the lease's ``LeaseResult`` with its keys if ``user`` has ``right`` on all of them."""

        def looked(outcome: api.Outcome) -> None:
            try:
                if isinstance(outcome, api.LeaseResult):
                    self.authority.require(user, (Use(key, b"", right) for key in outcome.keys))
            except AtollError as error:
                outcome = error
            done(outcome)

        self.submit(api.LeaseTimeToLive(lease, keys=True), looked)

    def _checked(self, user: str, request: api.Operation, done: api.Done) -> None:
        self.authority.require(user, uses(request))
        leases = [] if self.authority.is_admin(user) else sorted(set(leases_put(request)))
        self._check_leases(user, leases, request, done)

    def _check_leases(self, user: str, leases: list[int], request: api.Operation, done: api.Done) -> None:
        """Who cannot write the keys that a lease has cannot revoke it, so must not join it either."""
        if not leases:
            self.submit(request, done)
            return

        def checked(outcome: api.Outcome) -> None:
            if isinstance(outcome, AtollError):
                done(outcome)
            else:
                self._check_leases(user, leases[1:], request, done)

        self.require_lease(user, leases[0], Right.WRITE, checked)


def uses(request: api.Operation) -> Iterator[Use]:
    """Every use of keys that ``request`` may make, on whichever path."""
    if isinstance(request, api.Txn):
        for compare in request.compares:
            yield Use(compare.key, compare.end, Right.READ)
        for operation in (*request.success, *request.failure):
            yield from uses(operation)
    elif isinstance(request, api.Range):
        yield Use(request.key, request.end, Right.READ)
    elif isinstance(request, api.Put):
        yield Use(request.key, b"", Right.READWRITE if request.prev_kv else Right.WRITE)
    else:
        yield Use(request.key, request.end, Right.READWRITE if request.prev_kv else Right.WRITE)


def leases_put(request: api.Operation) -> Iterator[int]:
    """The leases that puts in ``request`` may attach keys to."""
    if isinstance(request, api.Txn):
        for operation in (*request.success, *request.failure):
            yield from leases_put(operation)
    elif isinstance(request, api.Put) and request.lease:
        yield request.lease
