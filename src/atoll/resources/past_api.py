"""What was, as Atoll's own API is asked for it; answers are those of ``events``. Never stored."""

from __future__ import annotations

from typing import Annotated

import msgspec

from atoll.resources.service import DEFAULT_GROUP

WALL_S_MAX = 253_402_300_799  # the last second of the year 9999

Moment = Annotated[float, msgspec.Meta(ge=0, le=WALL_S_MAX)]


class ExplainAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``data_id`` or ``name`` (of a service), one of both. ``client``: contained in the client's id;
    empty: every client. ``at_s``: Unix time, 0: now.
    """

    data_id: str = ""
    name: str = ""
    group: str = DEFAULT_GROUP
    namespace: str = ""
    client: str = ""
    at_s: Moment = 0.0


class TopologyAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``*`` stands for any text in ``name`` and ``group``. ``at_s``: Unix time, 0: now."""

    at_s: Moment = 0.0
    name: str = "*"
    group: str = "*"
    namespace: str = ""


class DifferencesAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``from_s`` to ``to_s`` (0: now), Unix times."""

    from_s: Moment
    to_s: Moment = 0.0
    name: str = "*"
    group: str = "*"
    namespace: str = ""
