"""Who does something: on every consistent write, for the audit log. Never stored alone.

Rule: whoever accepts a request says who asked; work that nobody asked for says which part of Atoll did it.
"""

from __future__ import annotations

import msgspec


class Actor(msgspec.Struct, frozen=True, gc=False):
    """``user`` empty: nobody logged in. ``address``: the peer's, without port. ``via``: the protocol (``nacos-http``,
    ``nacos-grpc``, ``api``, ``atoll`` for its own work). ``node``: the node that was asked.
    """

    user: str = ""
    address: str = ""
    via: str = ""
    node: str = ""
