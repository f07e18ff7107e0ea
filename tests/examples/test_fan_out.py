"""Fan-out: each of a thousand results is in its place."""

from __future__ import annotations

import random

import pytest
from odradek import ApplicationError, WorkflowFailedError, activity
from odradek.testing import Environment

from examples.fan_out import Book, Count, count_book, count_words

from .recording import recorded


async def test_a_thousand_results_come_in_their_order() -> None:
    counts = random.Random(7).choices(range(1000), k=1000)
    async with Environment(workflows=[count_book], activities={count_words: lambda book, page: counts[page]}) as env:
        count = await env.client.execute(count_book, Book("b", 1000), id="b")
    assert count == Count(words=sum(counts), longest_page=counts.index(max(counts)))


async def test_one_page_that_fails_at_first_is_tried_again_alone() -> None:
    calls: list[int] = []

    def count(book: Book, page: int) -> int:
        calls.append(page)
        if page == 7 and activity.info().attempt == 1:
            raise ConnectionError("no answer")
        return page

    async with Environment(workflows=[count_book], activities={count_words: count}) as env:
        book = await env.client.start(count_book, Book("b", 20), id="b")
        assert await book.result() == Count(words=190, longest_page=19)
        await recorded(book, "fan_out-twenty")
    assert sorted(calls) == sorted([*range(20), 7])


async def test_a_page_that_cannot_be_had_fails_the_book() -> None:
    def count(book: Book, page: int) -> int:
        if page == 3:
            raise ApplicationError("torn out", non_retryable=True)
        return page

    async with Environment(workflows=[count_book], activities={count_words: count}) as env:
        book = await env.client.start(count_book, Book("b", 10), id="b")
        with pytest.raises(WorkflowFailedError, match="torn out"):
            await book.result()
        await recorded(book, "fan_out-torn-out")
