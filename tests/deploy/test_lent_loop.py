"""The loop of a client: run by its thread, or by who waits."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from splitimpera.deploy.lent_loop import LentLoop

PATIENCE_S = 10


@pytest.fixture
def lent():
    loop = LentLoop()
    yield loop
    loop.close()


def never():
    return False


def test_who_waits_runs_the_loop(lent):
    wanted = Future()

    def work():
        asyncio.get_running_loop().call_later(0.001, lambda: wanted.set_result(threading.current_thread()))

    assert lent.run(wanted, never, work)
    assert wanted.result(0) is threading.current_thread()


def test_what_is_there_at_once_needs_no_loop(lent):
    wanted = Future()
    assert lent.run(wanted, never, wanted.set_result, 3)
    assert wanted.result(0) == 3


def test_its_thread_goes_on_where_nobody_waits(lent):
    wanted, later = Future(), Future()

    def work():
        asyncio.get_running_loop().call_later(0.01, lambda: later.set_result(threading.current_thread()))
        wanted.set_result(None)

    assert lent.run(wanted, never, work)
    assert later.result(PATIENCE_S) is not threading.current_thread()


def test_it_is_lent_to_one_at_a_time(lent):
    inside, wanted, other = threading.Event(), Future(), Future()
    first = threading.Thread(target=lent.run, args=(wanted, never, inside.set))
    first.start()
    assert inside.wait(PATIENCE_S)
    assert not lent.run(other, never, other.set_result, None)
    assert not other.done()
    lent.call(other.set_result, None)  # whoever runs it does this as well
    assert other.result(PATIENCE_S) is None
    lent.call(wanted.set_result, None)
    first.join(PATIENCE_S)
    assert not first.is_alive()


def test_an_event_loop_cannot_wait_in_another(lent):
    async def asked():
        wanted = Future()
        return lent.run(wanted, never, wanted.set_result, None)

    assert asyncio.run(asked()) is False


def test_what_fails_comes_back_and_the_loop_goes_on(lent):
    with pytest.raises(ZeroDivisionError):
        lent.run(Future(), never, lambda: 1 / 0)

    async def work():
        return 5

    assert lent.wait(work()) == 5
