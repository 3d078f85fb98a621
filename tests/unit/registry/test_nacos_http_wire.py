"""Forms, listening lists, datagrams, error codes and the table of paths: bytes in, values out."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.wire.nacos import datagrams, errors, form, listening, service_info
from atoll.wire.nacos.catalog import ENTRIES
from atoll.wire.nacos.catalog.entry import Status


def test_the_query_comes_before_the_form_and_the_first_of_a_name_counts() -> None:
    fields: dict[str, str] = {}
    form.merge(fields, b"a=1&a=2&empty=&=x")
    form.merge(fields, b"a=3&b=%E4%BD%A0+%2B&c")
    assert fields == {"a": "1", "empty": "", "b": "你 +", "c": ""}


@pytest.mark.parametrize("encoded", [b"a=%ff", b"%ff=a", b"&".join([b"a=1"] * 1001)])
def test_a_form_that_cannot_be_read_is_refused(encoded: bytes) -> None:
    with pytest.raises(AtollError) as caught:
        form.merge({}, encoded)
    assert caught.value.reason is Reason.PARAMETER_INVALID


MULTIPART = (
    b'--B\r\nContent-Disposition: form-data; name="policy"\r\n\r\nSKIP\r\n'
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n'
    b"Content-Type: application/zip\r\n\r\nPK\r\n--C\x00\r\n--B--\r\n"
)


def test_a_multipart_body_has_fields_and_files() -> None:
    fields: dict[str, str] = {}
    files = form.multipart(b'multipart/form-data; boundary="B"', MULTIPART, fields)
    assert fields == {"policy": "SKIP"}
    assert files == {"file": form.Upload("a.zip", b"PK\r\n--C\x00")}


@pytest.mark.parametrize("body", [b"", MULTIPART[:-8], b"--B\r\n\r\nx\r\n--B--", b"--B\r\nx\r\n--B--"])
def test_a_multipart_body_that_is_broken_is_refused(body: bytes) -> None:
    with pytest.raises(AtollError):
        form.multipart(b"multipart/form-data; boundary=B", body, {})


def test_the_charset_of_the_content_type_does_not_matter() -> None:
    assert form.is_form(b"application/x-www-form-urlencoded; charset=GBK")
    assert form.is_form(b"")
    assert not form.is_form(b"application/json")


def test_listening_lines_have_three_or_four_words() -> None:
    text = "a\x02G\x02md5\x02ten\x01b\x02G\x02\x01c\x02G\x02m\x02\x01"
    known = listening.decode(text)
    assert known == [
        listening.Known("a", "G", "md5", "ten"),
        listening.Known("b", "G", "", ""),
        listening.Known("c", "G", "m", ""),
    ]
    assert listening.encode(known[:2]) == b"a%02G%02ten%01b%02G%01\n"
    assert listening.encode([]) == b""
    assert listening.short(known[:2]) == b"a:G;b:G;"


@pytest.mark.parametrize(
    "text", ["a\x02G\x01", "a\x02 \x02m\x01", "\x02G\x02m\x01", "a\x02b\x02c\x02d\x02e\x01"]
)
def test_a_listening_line_that_is_broken_is_refused(text: str) -> None:
    with pytest.raises(AtollError, match="invalid probeModify"):
        listening.decode(text)


def test_no_more_than_ten_thousand_items_are_listened_to_at_once() -> None:
    line = "a\x02G\x02\x01"
    assert len(listening.decode(line * listening.KEYS_MAX)) == listening.KEYS_MAX
    with pytest.raises(AtollError, match="more than 10000 items"):
        listening.decode(line * (listening.KEYS_MAX + 1))


def test_a_datagram_is_compressed_from_a_kilobyte_on_and_has_an_end() -> None:
    small = datagrams.push(b'{"name":"s"}', 7)
    assert small is not None and json.loads(small) == {
        "type": "dom",
        "data": '{"name":"s"}',
        "lastRefTime": 7,
    }
    large = datagrams.push(b"x" * 2000, 7)
    assert large is not None and large[:2] == b"\x1f\x8b"
    assert json.loads(gzip.decompress(large))["data"] == "x" * 2000
    noise = b"".join(hashlib.sha256(b"%d" % n).hexdigest().encode() for n in range(3_000))
    assert datagrams.push(noise, 7) is None


@pytest.mark.parametrize(
    "datagram, acknowledged",
    [
        (b'{"type":"push-ack","lastRefTime":"7","data":""}', 7),
        (b'{"type":"push-ack","lastRefTime":7}', 7),
        (b'{"type":"dump-ack","lastRefTime":7}', None),
        (b'{"type":"push-ack","lastRefTime":"x"}', None),
        (b"\xff", None),
        (b'{"type":"push-ack","lastRefTime":7}' + b" " * 1024, None),
    ],
)
def test_only_a_push_ack_acknowledges(datagram: bytes, acknowledged: int | None) -> None:
    assert datagrams.acknowledged(datagram) == acknowledged


def test_every_code_has_a_fault_and_every_fault_a_message() -> None:
    assert set(errors.BY_CODE) == set(Code)
    faults = [*errors.BY_CODE.values(), *errors.BY_REASON.values()]
    assert not [fault for fault in faults if fault.code not in errors.MESSAGES]


def test_the_reason_and_its_facts_choose_the_code() -> None:
    def code(reason: Reason, **facts: str) -> int:
        return errors.fault_of(AtollError(Code.INVALID, "", reason=reason, facts=facts)).code

    assert code(Reason.OTHER) == 20002
    assert code(Reason.PARAMETER_INVALID, parameter="weight") == 21001
    assert code(Reason.CAPACITY_REACHED, scope="namespace") == 5033
    assert code(Reason.IMPORT_INVALID, problem="empty") == 100005
    assert code(Reason.SERVICE_EXISTS) == 21007


def test_a_verb_and_path_has_one_entry_for_each_choice_and_one_without() -> None:
    titles = [entry.title for entry in ENTRIES]
    assert len(titles) == len(set(titles))
    lonely = {(entry.verb, entry.path) for entry in ENTRIES if entry.when} - {
        (entry.verb, entry.path) for entry in ENTRIES if not entry.when
    }
    assert not lonely


def test_whatever_does_not_work_as_in_nacos_says_why() -> None:
    assert not [entry.title for entry in ENTRIES if (entry.status is Status.WORKS) != (entry.note == "")]


def test_a_service_info_has_every_field_that_some_client_reads() -> None:
    host = service_info.Host(
        instance_id="1.1.1.1#80#DEFAULT#G@@s",
        ip="1.1.1.1",
        port=80,
        weight=1.0,
        healthy=True,
        enabled=True,
        ephemeral=True,
        cluster_name="DEFAULT",
        service_name="G@@s",
        metadata={"a": "b"},
    )
    head = service_info.Head(
        name="G@@s", group="G", clusters="", cache_ms=10_000, last_ref_time_ms=7, protected=False
    )
    hosts = service_info.hosts([host])
    plain = json.loads(service_info.service_info(head, hosts))
    old = json.loads(service_info.old_service_info(head, hosts))
    assert plain["hosts"][0] == {
        "instanceId": "1.1.1.1#80#DEFAULT#G@@s",
        "ip": "1.1.1.1",
        "port": 80,
        "weight": 1.0,
        "healthy": True,
        "enabled": True,
        "ephemeral": True,
        "clusterName": "DEFAULT",
        "serviceName": "G@@s",
        "metadata": {"a": "b"},
        "instanceHeartBeatInterval": 5000,
        "instanceHeartBeatTimeOut": 15000,
        "ipDeleteTimeout": 30000,
        "instanceIdGenerator": "simple",
    }
    assert plain["allIPs"] is False and plain["reachProtectionThreshold"] is False
    assert {name: old[name] for name in plain} == plain
    assert set(old) - set(plain) == {"dom", "useSpecifiedURL", "env", "metadata"}
