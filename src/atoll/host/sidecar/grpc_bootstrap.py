"""The bootstrap of a proxyless gRPC application: who it is, where its control plane is, and where its certificate is kept.

Rule: what Envoy's bootstrap says to a sidecar, in gRPC's words (gRFC A27, A29, A36, A65). Keys stay in files of the
workload's own folder, which gRPC reads again every ``REFRESH``: it has no secret service.

Several control planes: gRPC takes the next one only while it has nothing from those before it (gRFC A71).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from atoll.host.sidecar.bootstrap import Wiring
from atoll.host.sidecar.identity import files
from atoll.resources.mesh import node_metadata, proxyless

FILE = "grpc.json"
REFRESH = "10s"


def bootstrap(wiring: Wiring, folder: Path) -> bytes:
    """JSON, for ``GRPC_XDS_BOOTSTRAP``. ``folder``: where the files of its identity are."""
    client = wiring.client
    own = {
        "certificate_file": str(folder / files.CERTIFICATE),
        "private_key_file": str(folder / files.KEY),
        "ca_certificate_file": str(folder / files.ROOTS),
        "refresh_interval": REFRESH,
    }
    told: dict[str, Any] = {
        "node": {
            "id": wiring.node,
            "cluster": client.service,
            "metadata": node_metadata.metadata_of(client),
            "locality": {
                "region": client.locality.region,
                "zone": client.locality.zone,
                "sub_zone": client.locality.sub_zone,
            },
        },
        "server_listener_resource_name_template": proxyless.SERVER,
        "certificate_providers": {proxyless.PROVIDER: {"plugin_name": "file_watcher", "config": own}},
        "xds_servers": [
            {
                "server_uri": str(each),
                "channel_creds": [{"type": "tls", "config": own}],
                "server_features": ["xds_v3"],
            }
            for each in wiring.xds
        ],
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n"
