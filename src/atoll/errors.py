"""The closed set of errors that Atoll shows to a caller, and the fault of a peer that broke a wire protocol.

Rule: an ``AtollError`` is expected and actionable; whoever raises one says what was wrong and what would be
right. ``Code`` is closed: every frontend owns one table from ``Code`` and ``Reason`` to its protocol's errors.
A ``ProtocolFault`` closes the connection of the peer that caused it. Anything else is a bug.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

_NO_FACTS: Mapping[str, int | str] = {}


class Code(enum.Enum):
    """What kind of failure it is; decides what the caller may do next."""

    INVALID = "invalid"  # the request is wrong as it stands; repeating it cannot help
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"  # a guard failed or the thing exists already; read again, decide again
    DENIED = "denied"  # who you are, or what you may do
    EXHAUSTED = "exhausted"  # a limit or the disk; helps only after room was made
    UNAVAILABLE = "unavailable"  # certainly not applied; repeating later is safe
    UNKNOWN = "unknown"  # may have been applied: look before you repeat


class Reason(enum.Enum):
    """The precise cause, for frontends whose protocol has a text of its own for it. Closed like ``Code``."""

    OTHER = "other"
    EMPTY_KEY = "empty_key"
    KEY_NOT_FOUND = "key_not_found"  # ignore_value / ignore_lease on a key that is not there
    VALUE_PROVIDED = "value_provided"
    LEASE_PROVIDED = "lease_provided"
    DUPLICATE_KEY = "duplicate_key"  # one key put twice in one transaction
    TOO_MANY_OPS = "too_many_ops"
    REQUEST_TOO_LARGE = "request_too_large"
    COMPACTED = "compacted"  # facts: compact_revision
    FUTURE_REVISION = "future_revision"  # facts: revision
    NO_SPACE = "no_space"
    LEASE_NOT_FOUND = "lease_not_found"
    LEASE_EXISTS = "lease_exists"
    LEASE_TTL_TOO_LARGE = "lease_ttl_too_large"
    INVALID_CREDENTIALS = "invalid_credentials"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a name, not a secret
    PERMISSION_DENIED = "permission_denied"
    AUTH_NOT_ENABLED = "auth_not_enabled"
    AUTH_MANAGEMENT = "auth_management"  # would leave a store with authentication on and no root
    ROOT_USER_MISSING = "root_user_missing"
    ROOT_ROLE_MISSING = "root_role_missing"
    USER_EMPTY = "user_empty"
    USER_EXISTS = "user_exists"
    USER_NOT_FOUND = "user_not_found"
    USER_WITHOUT_PASSWORD = "user_without_password"  # noqa: S105 - a name, not a secret
    ROLE_EMPTY = "role_empty"
    ROLE_EXISTS = "role_exists"
    ROLE_NOT_FOUND = "role_not_found"
    ROLE_NOT_GRANTED = "role_not_granted"
    PERMISSION_NOT_GRANTED = "permission_not_granted"
    NOT_LEADER = "not_leader"  # a term ended: its deadline passed or its fence failed
    NO_LEADER = "no_leader"  # the store answers, but nobody in it can decide now
    TIMEOUT = "timeout"
    CLOSED = "closed"
    CORRUPT = "corrupt"
    NEWER_FORMAT = "newer_format"
    IN_USE = "in_use"
    # the registry: what its protocols have codes of their own for
    PARAMETER_MISSING = "parameter_missing"  # facts: parameter
    PARAMETER_INVALID = "parameter_invalid"  # facts: parameter
    NAMESPACE_NOT_FOUND = "namespace_not_found"
    NAMESPACE_EXISTS = "namespace_exists"
    SERVICE_NOT_FOUND = "service_not_found"
    SERVICE_EXISTS = "service_exists"
    SERVICE_NOT_EMPTY = "service_not_empty"
    SERVICE_KIND = "service_kind"  # an ephemeral instance for a persistent service, or the reverse
    SELECTOR_INVALID = "selector_invalid"
    INSTANCE_NOT_FOUND = "instance_not_found"
    HEALTH_CHECKED = "health_checked"  # health is set by hand only where nothing probes it
    CONFIG_NOT_FOUND = "config_not_found"
    CONFIG_EXISTS = "config_exists"
    CONFIG_CHANGED = "config_changed"  # compare-and-set: somebody published in between; facts: md5
    CONTENT_INVALID = "content_invalid"  # does not parse as its type; facts: line, column
    CONTENT_TOO_LARGE = "content_too_large"  # facts: size_bytes_max
    CAPACITY_REACHED = "capacity_reached"  # facts: scope (cluster, group or namespace)
    GRAY_RULE_INVALID = "gray_rule_invalid"
    GRAY_TOO_MANY = "gray_too_many"
    RATE_LIMITED = "rate_limited"  # facts: point
    IMPORT_INVALID = "import_invalid"  # an archive that cannot be taken in; facts: problem


class AtollError(Exception):
    """An expected, actionable failure.

    ``retry_after_s`` is advice in seconds, None where repeating cannot help. ``facts`` carries numbers and
    names a frontend needs (``compact_revision``, ``revision``, ``key``); never a secret.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        reason: Reason = Reason.OTHER,
        retry_after_s: float | None = None,
        facts: Mapping[str, int | str] = _NO_FACTS,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.facts = facts

    def __repr__(self) -> str:
        return f"AtollError({self.code.name}, {self.reason.name}, {self.message!r})"


class ProtocolFault(Exception):
    """The peer broke the wire protocol. Closes that connection; ``detail`` goes to the operator's log."""

    def __init__(self, protocol: str, detail: str) -> None:
        super().__init__(f"{protocol}: {detail}")
        self.protocol = protocol
        self.detail = detail
