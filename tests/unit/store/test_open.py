"""Stores by their address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from atoll.errors import AtollError, Code
from atoll.store.api import Put, PutResult
from atoll.store.etcd import EtcdDriver
from atoll.store.open import open_store
from atoll.testing.asking import ask


@pytest.mark.parametrize("kind", ["memory:", "sqlite:"])
def test_an_embedded_store_is_opened_and_works(kind: str, tmp_path: Path) -> None:
    driver = open_store(kind if kind == "memory:" else f"{kind}{tmp_path / 'store'}")
    assert ask(driver, Put(b"k"), PutResult).revision == 2
    driver.close()


def test_an_etcd_cluster_is_opened_without_asking_it() -> None:
    driver = open_store("etcd://127.0.0.1:1")
    assert isinstance(driver, EtcdDriver)
    driver.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "it names no kind of store"),
        ("127.0.0.1:2379", "it names no kind of store"),
        ("redis://a", "no store of the kind 'redis'"),
        ("sqlite:", "no store of the kind 'sqlite'; it is one of memory:, sqlite:PATH"),
        ("memory:x", "no store of the kind 'memory'"),
        ("etcd:a", "must begin with etcd://"),
    ],
)
def test_an_address_that_is_none_says_what_would_be_one(url: str, says: str) -> None:
    with pytest.raises(AtollError, match=says) as refused:
        open_store(url)
    assert refused.value.code is Code.INVALID


def test_grpc_is_loaded_by_the_first_request_to_etcd_only() -> None:
    program = """
import sys, threading
from atoll.store.api import Put
from atoll.store.open import open_store
from atoll.testing.asking import ask
from atoll.testing.asking import ask
open_store("memory:").close()
driver = open_store("etcd://127.0.0.1:1")
assert "grpc" not in sys.modules, "opened is not yet asked"
answered = threading.Event()
driver.submit(Put(b"k"), lambda outcome: answered.set(), 0.3)
assert answered.wait(10) and "grpc" in sys.modules
driver.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env={"PYTHONPATH": "src"})
