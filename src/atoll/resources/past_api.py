"""What was, as Atoll's own API is asked for it; answers are those of ``events``. Never stored."""

from __future__ import annotations

import msgspec

from atoll.resources.service import DEFAULT_GROUP


class ExplainAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``data_id`` or ``name`` (of a service), one of both. ``client``: contained in the client's id;
    empty: every client. ``at_s``: Unix time, 0: now.
    """

    data_id: str = ""
    name: str = ""
    group: str = DEFAULT_GROUP
    namespace: str = ""
    client: str = ""
    at_s: float = 0.0


class TopologyAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``*`` stands for any text in ``name`` and ``group``. ``at_s``: Unix time, 0: now."""

    at_s: float = 0.0
    name: str = "*"
    group: str = "*"
    namespace: str = ""


class DifferencesAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``from_s`` to ``to_s`` (0: now), Unix times."""

    from_s: float
    to_s: float = 0.0
    name: str = "*"
    group: str = "*"
    namespace: str = ""
