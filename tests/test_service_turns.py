"""Searches run in turns, and a slow one gives its turn away."""

import asyncio

import pytest

from service.turns import Turn, Turns


def test_turns_come_in_the_order_of_asking() -> None:
    async def ask(turns: Turns, number: int, said: list[int]) -> Turn:
        turn = await turns.take()
        said.append(number)
        return turn

    async def run() -> None:
        turns, said = Turns(2), list[int]()
        asked = [asyncio.create_task(ask(turns, number, said)) for number in range(5)]
        await asyncio.sleep(0)
        assert said == [0, 1]
        (await asked[1]).end()
        await asyncio.sleep(0.01)
        assert said == [0, 1, 2]
        first = await asked[0]
        first.end()
        first.end()  # given back once, however often
        await asyncio.sleep(0.01)
        assert said == [0, 1, 2, 3]
        (await asked[2]).end()
        (await asked[3]).end()
        (await asked[4]).end()
        assert said == [0, 1, 2, 3, 4]
        await asyncio.wait_for(turns.take(), 1)
        await asyncio.wait_for(turns.take(), 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(turns.take(), 0.01)

    asyncio.run(run())


@pytest.mark.parametrize("called_first", [False, True])
def test_who_leaves_the_queue_takes_no_turn_along(called_first: bool) -> None:
    async def run() -> None:
        turns = Turns(1)
        running = await turns.take()
        leaving = asyncio.create_task(turns.take())
        staying = asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        if called_first:
            running.end()
        leaving.cancel()
        await asyncio.sleep(0)
        if not called_first:
            running.end()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        (await asyncio.wait_for(staying, 1)).end()
        await asyncio.wait_for(turns.take(), 1)

    asyncio.run(run())
