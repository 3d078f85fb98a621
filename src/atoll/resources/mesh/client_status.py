"""How each client of the mesh stands: what it was sent, what it took, what it refused and what is kept from it for that.

Rule: read-only views, made when somebody asks; times are Unix time in seconds, 0: never.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from atoll.resources.records import NOTHING


class State(enum.StrEnum):
    """The worst that holds of any of its types comes first here."""

    NACK = "nack"  # it refused something, and has what it had before; or documents are kept from it for that
    STALE = "stale"  # it has not said (yet) that it has everything
    SYNCED = "synced"


class TypeStatus(msgspec.Struct, frozen=True):
    """One resource type. Versions are of all resources of it together; equal ones mean equal contents. ``text``: why it
    refused the last response, while that stands.
    """

    state: State
    asked: int  # names; -1: for everything
    resources: int
    sent_version: str = ""
    accepted_version: str = ""
    responses: int = 0
    sent_at_s: float = 0.0
    accepted_at_s: float = 0.0
    refused_at_s: float = 0.0
    text: str = ""


class SetAside(msgspec.Struct, frozen=True):
    """A document, ``Kind/namespace/name``, in the version ``hash8``, that clients of this class do not get, because one of
    them refused what it made: ``text``. It lasts until the document changes.
    """

    document: str
    hash8: str
    text: str
    at_s: float
    node: str


class ClientStatus(msgspec.Struct, frozen=True):
    """``types`` by short name: ``CLUSTER``, ``ENDPOINTS``, ``LISTENER``, ``ROUTE``. ``delay_s``: from when the last
    change for it was seen until it had said that it has it; negative: there was none. ``problems``: what the compiler
    could not do as documents say.
    """

    node: str
    connection: int
    kind: str
    service: str
    namespace: str
    state: State
    form: str  # "sotw" or "delta"
    address: str
    agent: str
    since_s: float
    types: Mapping[str, TypeStatus] = NOTHING
    set_aside: tuple[SetAside, ...] = ()
    problems: tuple[str, ...] = ()
    delay_s: float = -1.0
    stage: str = ""  # the change that is tried on it
