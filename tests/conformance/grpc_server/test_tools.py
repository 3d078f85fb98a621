"""curl, nghttp and h2load; TLS, HTTP/2 without TLS and HTTP/1 on one port."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.runtime.http1 import Limits
from atoll.wire.grpc import message
from tests.conformance.grpc_server.echo import EchoServer
from tests.peers.certificates import Certificates, make_certificates

pytestmark = pytest.mark.peers
Tool = Callable[[str], str]
GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
ECHO = "/atoll.test.Echo/Echo"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[EchoServer]:
    """One listener for everything."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    with EchoServer(tls=context) as running:
        yield running


@pytest.fixture
def body(tmp_path: Path) -> Path:
    file = tmp_path / "message"
    file.write_bytes(message.encode(b"hello"))
    return file


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge", "--http2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_curl_finds_the_right_protocol_on_one_port(
    server: EchoServer, certificates: Certificates, tool: Tool, body: Path, version: str, scheme: str
) -> None:
    """``--http2`` asks by ALPN under TLS, and falls back to HTTP/1.1 without it."""
    is_http2 = version == "--http2-prior-knowledge" or (version == "--http2" and scheme == "https")
    url = f"{scheme}://{server.target}{ECHO if is_http2 else '/some/path?q'}"
    seen = run(
        *(tool("curl"), "-sv", version, "--cacert", str(certificates.ca), *GRPC),
        *("--data-binary", f"@{body}", "-o", str(body.parent / "answer"), url),
    )
    answer = (body.parent / "answer").read_bytes()
    if is_http2:
        assert answer == message.encode(b"hello")
        assert re.search(r"^< HTTP/2 200", seen, re.M) and re.search(r"^< grpc-status: 0", seen, re.M)
    else:
        assert answer == f"{scheme} POST /some/path 10\n".encode()
        assert re.search(r"^< HTTP/1.1 200", seen, re.M)


def test_a_request_that_is_not_grpc_is_told_so(server: EchoServer, tool: Tool) -> None:
    curl = (tool("curl"), "-si", "--http2-prior-knowledge")
    assert "HTTP/2 405" in run(*curl, f"http://{server.target}{ECHO}")
    told = run(*curl, "-d", "x", f"http://{server.target}{ECHO}")
    assert "HTTP/2 415" in told and "content-type must be application/grpc" in told


def test_http1_answers_a_bug_and_a_bad_request_and_keeps_good_connections(
    server: EchoServer, tool: Tool
) -> None:
    base = f"http://{server.target}"
    told = run(tool("curl"), "-sv", f"{base}/a", f"{base}/b", f"{base}/bug", f"{base}/c")
    assert "http GET /a 0" in told and "http GET /b 0" in told and "http GET /c 0" in told
    assert "HTTP/1.1 500" in told and "secret" not in told
    assert len(re.findall("Re-using existing connection", told)) == 2
    assert "HTTP/1.1 431" in run(tool("curl"), "-sv", "-H", "x: " + "v" * 20_000, base)


def test_http1_takes_a_chunked_body_and_expect_continue(
    server: EchoServer, tool: Tool, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * 3_000_000)
    curl = (tool("curl"), "-sv", "--data-binary", f"@{large}", f"http://{server.target}/up")
    assert "http POST /up 3000000" in run(*curl, "-H", "transfer-encoding: chunked")
    told = run(*curl, "-H", "expect: 100-continue")
    assert "HTTP/1.1 100" in told and "http POST /up 3000000" in told
    large.write_bytes(b"x" * (Limits().body_bytes_max + 1))
    assert "HTTP/1.1 413" in run(*curl, "-H", "expect:")


def test_nghttp_with_padding_and_priorities(server: EchoServer, tool: Tool, body: Path) -> None:
    flags = ("-m", "5", "-b", "40", "-v", "-H", ":method: POST", "-H", "content-type: application/grpc")
    told = run(tool("nghttp"), *flags, "-d", str(body), f"http://{server.target}{ECHO}")
    assert len(re.findall(r"grpc-status: 0", told)) == 5
    assert "recv GOAWAY" not in told and "recv RST_STREAM" not in told


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_h2load_loses_no_request(server: EchoServer, tool: Tool, body: Path, scheme: str) -> None:
    told = run(
        *(tool("h2load"), "-n", "4000", "-c", "16", "-m", "4", "-d", str(body), *GRPC),
        f"{scheme}://{server.target}{ECHO}",
    )
    assert "4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout" in told
    assert "status codes: 4000 2xx" in told


def test_a_flow_controlled_download_by_nghttp(server: EchoServer, tool: Tool, body: Path) -> None:
    body.write_bytes(message.encode(b"3000000"))
    url = f"http://{server.target}/atoll.test.Echo/Pour"
    told = run(
        *(tool("nghttp"), "-w", "14", "-W", "15", "-v", "-n", "-H", ":method: POST"),
        *("-H", "content-type: application/grpc", "-d", str(body), url),
    )
    sizes = [int(size) for size in re.findall(r"recv DATA frame <length=(\d+)", told)]
    assert sum(sizes) == 3_000_005 and "grpc-status: 0" in told
