"""The token that proves who a client is."""

from __future__ import annotations

from atoll.store.etcd_errors import Failure
from atoll.store.etcd_token import RETRY_S, Token

UNREACHABLE = Failure("UNAVAILABLE", "Socket closed")


def test_without_a_user_no_token_is_needed() -> None:
    token = Token(needed=False)
    assert token.ready
    assert not token.fetch(0.0)


def test_one_login_at_a_time() -> None:
    token = Token(needed=True)
    assert [token.fetch(0.0), token.fetch(0.0)] == [True, False]
    token.granted("t")
    assert (token.ready, token.value, token.fetch(0.0)) == (True, "t", False)


def test_the_refusal_of_an_older_token_does_not_cost_the_newer() -> None:
    token = Token(needed=True)
    token.granted("old")
    token.refused("old")
    assert not token.ready
    token.granted("new")
    token.refused("old")
    assert token.ready


def test_a_login_that_did_not_get_through_is_tried_again_after_a_pause() -> None:
    token = Token(needed=True)
    assert token.fetch(0.0)
    assert token.failed(UNREACHABLE, 1.0) is None
    assert not token.fetch(1.0 + RETRY_S / 2)
    assert token.next_due_s() == 1.0 + RETRY_S
    assert token.fetch(1.0 + RETRY_S)


def test_a_cluster_without_authentication_takes_calls_without_a_token() -> None:
    token = Token(needed=True)
    token.fetch(0.0)
    assert (
        token.failed(Failure("FAILED_PRECONDITION", "etcdserver: authentication is not enabled"), 1.0) is None
    )
    assert (token.ready, token.value) == (True, "")
