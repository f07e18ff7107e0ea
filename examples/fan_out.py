"""Fan-out: a thousand activities at once, on all workers that there are, and their results gathered.

python examples/fan_out.py        counts the words of 1,000 pages
"""

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta

from odradek import Client, RetryPolicy, Worker, activity, workflow

TASK_QUEUE = "word-count"


@dataclass(frozen=True)
class Book:
    title: str
    pages: int


@dataclass(frozen=True)
class Count:
    words: int
    longest_page: int


@activity.define(start_to_close_timeout=timedelta(minutes=1), retry_policy=RetryPolicy(maximum_attempts=10))
async def count_words(book: Book, page: int) -> int:
    await asyncio.sleep(0.01)  # the page is fetched
    return 200 + page * 7919 % 300


@workflow.define
async def count_book(book: Book) -> Count:
    counts = await asyncio.gather(*[count_words(book, page) for page in range(book.pages)])
    return Count(words=sum(counts), longest_page=counts.index(max(counts)))


async def main() -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[count_book],
            activities=[count_words],
            max_concurrent_activities=200,
        ),
    ):
        book = Book("The Castle", pages=1000)
        count = await client.execute(count_book, book, id="castle", task_queue=TASK_QUEUE)
        print(f"{book.title}: {count.words} words on {book.pages} pages; page {count.longest_page} is the longest")


if __name__ == "__main__":
    asyncio.run(main())
