"""The console: one page that shows a node, its store, elections and leases. Rendered on the node, no script.

Rule: everything on it comes from the client of the API, so that it can show nothing that the API does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from atoll.client.node import Client
from atoll.runtime.http1 import Application


def pages(client: Callable[[], Client]) -> Mapping[str, Application]:
    """The console's paths and what answers them; ``client`` gives a client of the node's own API."""
    return {}
