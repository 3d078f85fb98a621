"""Precedence, sources, refusals and the rule for listening: all pure, so all by values."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import AtollError, Code
from atoll.host import settings
from atoll.runtime.net import Address

FILE = """\
data = "/srv/atoll"

[store]
url = "memory:"
quota_bytes = 1000

[listen]
etcd = "127.0.0.1:12379"
"""


def source_of(resolved: settings.Resolved, name: str) -> tuple[object, str]:
    return next((value.value, value.source) for value in resolved.values if value.declared.name == name)


def test_flags_beat_environment_beats_file_beats_defaults() -> None:
    environment = {"ATOLL_STORE_QUOTA_BYTES": "2000", "ATOLL_LISTEN_ETCD": "127.0.0.1:22379"}
    resolved = settings.resolve(("a.toml", FILE), environment, {"listen_etcd": "127.0.0.1:32379"})
    assert source_of(resolved, "log.level") == ("info", "default")
    assert source_of(resolved, "store.url") == ("memory:", "file a.toml:4")
    assert source_of(resolved, "store.quota_bytes") == (2000, "environment ATOLL_STORE_QUOTA_BYTES")
    assert source_of(resolved, "listen.etcd") == (Address("127.0.0.1", 32379), "flag --listen-etcd")
    assert resolved.settings.data == Path("/srv/atoll")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[store]\n\nulr = "x"\n', r"a\.toml:3: unknown setting 'store\.ulr'; did you mean 'store\.url'\?"),
        ('dta = "x"\n', r"a\.toml:1: unknown setting 'dta'; did you mean 'data'\?"),
        ('[stoer]\nurl = "x"\n', r"unknown setting 'stoer\.url'; did you mean 'store\.url'\?"),
        ("port_offset = 1.5\n", r"a\.toml:1: port_offset must be a whole number, not 1\.5"),
        ("port_offset = true\n", r"port_offset must be a whole number"),
        ('auth = "perhaps"\n', r"auth must be true or false, not 'perhaps'"),
        ('[listen]\napi = "here"\n', r"a\.toml:2: listen\.api: 'here' is not an address"),
        ('[log]\nlevel = "loud"\n', r"log\.level must be one of debug, info, warning, error"),
        ("data = 5\n", r"data must be a path, not 5"),
        ("stop_within_s = -1\n", r"must be a number of at least 0"),
        ("= 3\n", r"a\.toml: not TOML"),
        ('[tls]\nkey = "k"\n', r"tls\.certificate and tls\.key need each other"),
        ('[nodes]\nkey = "k"\n', r"nodes\.certificate and nodes\.key and nodes\.ca need each other"),
        ("port_offset = 70000\n", r"listen\.api with port_offset gives port 77070"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(AtollError, match=message):
        settings.resolve(("a.toml", text), {}, {})


def test_an_unknown_variable_is_a_remark_with_a_suggestion() -> None:
    environment = {"ATOLL_PORT_OFSET": "1", "ATOLL_LEAD_TERM": "7", "ATOLL_CONFIG": "x", "HOME": "/"}
    resolved = settings.resolve(None, environment, {})
    assert resolved.remarks == (
        "environment ATOLL_PORT_OFSET: not a setting; did you mean 'ATOLL_PORT_OFFSET'?; ignored",
    )


def test_the_offset_moves_every_port_but_zero() -> None:
    resolved = settings.resolve(None, {}, {"port_offset": "100", "listen_api": "127.0.0.1:0"})
    assert resolved.settings.address("listen_etcd") == Address("127.0.0.1", 2479)
    assert resolved.settings.address("listen_api") == Address("127.0.0.1", 0)


TLS = {"tls_certificate": "c.pem", "tls_key": "k.pem"}


@pytest.mark.parametrize("field", ["listen_etcd", "listen_nacos", "listen_nacos_grpc", "listen_api"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("auth", [False, True])
@pytest.mark.parametrize("insecure", [False, True])
def test_listening_beyond_loopback_needs_tls_and_credentials_or_insecure(
    field: str, host: str, tls: bool, auth: bool, insecure: bool
) -> None:
    flags: dict[str, str | bool] = {field: f"{host}:1", "auth": auth, "insecure": insecure}
    flags |= TLS if tls else {}
    allowed = host == "127.0.0.1" or insecure or (tls and auth)
    if allowed:
        settings.resolve(None, {}, flags)
        return
    with pytest.raises(
        AtollError,
        match=rf"{field.replace('_', '.', 1)} = 0\.0\.0\.0:1 is reachable by other machines",
    ) as caught:
        settings.resolve(None, {}, flags)
    assert caught.value.code is Code.DENIED


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        ({"listen_nodes": "127.0.0.1:1"}, True),
        ({"listen_nodes": "0.0.0.0:1"}, False),
        ({"listen_nodes": "0.0.0.0:1", "auth": True, **TLS}, False),
        ({"listen_nodes": "0.0.0.0:1", "insecure": True}, True),
        ({"listen_nodes": "0.0.0.0:1", "nodes_certificate": "c", "nodes_key": "k", "nodes_ca": "a"}, True),
    ],
)
def test_nodes_meet_beyond_loopback_only_by_certificates_of_their_own(
    flags: dict[str, str | bool], allowed: bool
) -> None:
    if allowed:
        settings.resolve(None, {}, flags)
        return
    with pytest.raises(AtollError, match="that needs --nodes-certificate, --nodes-key and --nodes-ca"):
        settings.resolve(None, {}, flags)


def test_every_setting_has_its_four_names_and_a_text() -> None:
    for declared in settings.DECLARED.values():
        assert declared.flag.startswith("--") and declared.variable.startswith("ATOLL_")
        assert declared.text.endswith(".")
    assert settings.DECLARED["store_url"].name == "store.url"
    assert settings.DECLARED["stop_within_s"].name == "stop_within_s"


def test_xds_beyond_loopback_is_guarded_by_its_own_certificates() -> None:
    settings.resolve(None, {}, {"listen_xds": "0.0.0.0:1"})
    with pytest.raises(AtollError, match=r"listen\.xds = 0\.0\.0\.0:1 .* needs mesh\.insecure_xds to be off"):
        settings.resolve(None, {}, {"listen_xds": "0.0.0.0:1", "mesh_insecure_xds": True})
    settings.resolve(None, {}, {"listen_xds": "0.0.0.0:1", "mesh_insecure_xds": True, "insecure": True})
