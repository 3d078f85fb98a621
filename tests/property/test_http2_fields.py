"""HPACK both ways against PyPI's codec: what we encode it decodes, and our cache never changes what it decodes."""

from __future__ import annotations

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.wire.http2 import fields
from atoll.wire.http2.fields import BlockDecoder, Pairs
from atoll.wire.http2.limits import Limits

NAMES = st.sampled_from([b"a", b"b", b"content-type", b":status", b"grpc-status", b"x" * 300])
VALUES = st.sampled_from([b"", b"0", b"200", b"application/grpc", b"v" * 130, b"w" * 3_000])
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.binary(min_size=1), st.binary()), max_size=8).map(tuple) | LISTS, max_size=4
    )
)
def test_what_we_encode_is_decoded_as_it_was(lists: list[Pairs]) -> None:
    decoder = hpack.Decoder()
    for at, pairs in enumerate(lists):
        block = fields.encode(pairs)
        opening = b"" if at else fields.NO_DYNAMIC_TABLE
        assert tuple(map(tuple, decoder.decode(opening + block, raw=True))) == pairs
    assert not decoder.header_table.dynamic_entries


STEPS = st.one_of(LISTS, LISTS, st.sampled_from([0, 60, 100, 4_096]))  # a list, or a new size of the table


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_the_cache_never_changes_what_is_decoded(steps: list[Pairs | int]) -> None:
    """Each list is sent twice, so that the second block often is one that the cache has."""
    encoder, plain, ours = hpack.Encoder(), hpack.Decoder(), BlockDecoder(Limits())
    for step in steps:
        if isinstance(step, int):
            if step != encoder.header_table_size:  # hpack forgets to announce a size that is set twice
                encoder.header_table_size = step
            continue
        for _ in range(2):
            block = encoder.encode(step)
            expected = tuple(map(tuple, plain.decode(block, raw=True)))
            assert ours.decode(block).pairs == expected == step
