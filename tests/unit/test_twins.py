"""The blocking twins are what their originals say now, and the generator does what it promises."""

from __future__ import annotations

from tools import twins


def test_no_twin_is_stale() -> None:
    stale = twins.stale()
    assert not stale, f"run `python3 dev.py generate`; these differ from their originals: {stale}"


def test_words_are_translated_and_text_is_left_alone() -> None:
    original = (
        "async def f(store: Store) -> AsyncGenerator[int, None]:\n"
        '    """Awaits; ``async with`` too."""\n'
        "    async with aclosing(store.watch(w)) as batches:  # async stays here\n"
        "        async for batch in batches:\n"
        "            yield await g(batch)\n"
    )
    assert twins.translate(original) == (
        "def f(store: BlockingStore) -> Generator[int, None, None]:\n"
        '    """Awaits; ``with`` too."""\n'
        "    with closing(store.watch(w)) as batches:  # async stays here\n"
        "        for batch in batches:\n"
        "            yield g(batch)\n"
    )
