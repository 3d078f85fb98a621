"""Comparing an explanation with what a real Envoy did: its access log, a line of JSON a request.

Rule: everything that an explanation claims is compared; where it lists branches, what happened must be one of them.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.resources.mesh.explanations import Explanation, Outcome, Request
from tests.waiting import wait_until

ID = "x-test-id"
LOG_FORMAT = {
    "id": "%REQ(X-TEST-ID)%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream": "%UPSTREAM_HOST%",
    "grpc": "%GRPC_STATUS_NUMBER%",
    "location": "%RESP(LOCATION)%",
    "seen_path": "%RESP(X-SEEN-PATH)%",
    "seen_host": "%RESP(X-SEEN-HOST)%",
}
FLUSH = ("--file-flush-interval-msec", "20")


def access_log(path: Path) -> dict[str, Any]:
    """The ``access_log`` entry that the comparison reads."""
    config = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(path),
        "log_format": {"json_format": LOG_FORMAT},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


@dataclass
class Log:
    """The lines by the id of their request."""

    path: Path
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    _offset: int = 0

    def wait(self, ids: Sequence[str], within_s: float = 20.0) -> dict[str, dict[str, Any]]:
        def complete() -> bool:
            self._read()
            return all(each in self.lines for each in ids)

        wait_until(complete, within_s, f"access log lines of {len(ids)} requests in {self.path}")
        return {each: self.lines[each] for each in ids}

    def _read(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            parsed = json.loads(line)
            self.lines[parsed["id"]] = parsed


class Sender:
    """Sends requests as they are, over one connection."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def send(self, request: Request, id: str) -> int:
        self._connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in [("Host", request.host), *request.headers, (ID, id)]:
            self._connection.putheader(name, value)
        self._connection.endheaders()
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._connection.close()


def disagreements(explanation: Explanation, line: Mapping[str, Any]) -> list[str]:
    """In what the log contradicts the explanation; empty: in nothing."""
    code = int(line["code"])
    flags = set((line["flags"] or "-").split(",")) - {"-"}
    if _by_chance(explanation, code, flags):
        return []
    wrong = _compared("route", explanation.route or None, line["route"])
    if explanation.outcome is Outcome.FORWARDED:
        return wrong + _forwarded(explanation, line, code, flags)
    expected = set(explanation.flags.split(",")) - {""}
    allowed = (
        [expected, expected | {"DI"}]
        if any(each.flags == "DI" for each in explanation.chances)
        else [expected]
    )
    if flags not in allowed:
        wrong.append(f"flags: explained {sorted(expected)}, logged {sorted(flags)} ({line['details']})")
    wrong += _compared("status", explanation.status, code)
    if explanation.grpc_status is not None:
        wrong += _compared("gRPC status", explanation.grpc_status, int(line["grpc"]))
    if explanation.location:
        wrong += _compared("location", explanation.location, line["location"])
    return wrong


def _by_chance(explanation: Explanation, code: int, flags: set[str]) -> bool:
    return any(
        each.status == code and each.flags and each.flags in flags and each.flags != explanation.flags
        for each in explanation.chances
    )


def _forwarded(explanation: Explanation, line: Mapping[str, Any], code: int, flags: set[str]) -> list[str]:
    targets = {each.cluster: each for each in explanation.targets}
    target = targets.get(line["cluster"])
    if target is None:
        return [f"cluster: explained {list(targets)}, logged {line['cluster']} ({line['details']}, {code})"]
    wrong = _compared("flags", {"DI"} & flags, flags)
    addresses = {each.address for each in target.endpoints if not each.excluded}
    if addresses and line["upstream"] not in addresses:
        wrong.append(f"endpoint: explained {sorted(addresses)}, logged {line['upstream']}")
    if line["seen_path"] is not None:
        wrong += _compared("path", explanation.path, line["seen_path"])
        wrong += _compared("host", explanation.host, line["seen_host"])
    return wrong


def _compared(what: str, explained: object, logged: object) -> list[str]:
    return [] if explained == logged else [f"{what}: explained {explained!r}, logged {logged!r}"]


def port_of(listeners: Mapping[str, Any], name: str) -> int:
    """Of ``/listeners?format=json``."""
    for each in listeners["listener_statuses"]:
        if each["name"] == name:
            return int(each["local_address"]["socket_address"]["port_value"])
    raise AssertionError(f"no listener {name} in {re.sub(' +', ' ', str(listeners))}")
