"""Whatever ends a load early, on every engine: nothing of it is there; loads take turns."""

from __future__ import annotations

import select
import signal
import threading
from collections.abc import Iterator

import pytest
from support.engines import Engine
from support.raw_store import batch, endless, load_one, no_thread_is_left, process, write_one

from loader.engines import open_store
from loader.errors import DatabaseFault, FileRefused
from loader.parsers.records import Batch

pytestmark = pytest.mark.slow


class OddError(Exception):
    """What no parser is expected to raise."""


@pytest.mark.parametrize(
    "error", [FileRefused("a.csv", ": no"), KeyboardInterrupt(), OddError(), SystemExit(3)]
)
@pytest.mark.parametrize("after", [0, 30])
def test_what_ends_the_batches_comes_out_as_it_was(
    engine: Engine, error: BaseException, after: int
) -> None:
    closed = []

    def failing() -> Iterator[Batch]:
        try:
            for number in range(after):
                yield batch(1, number * 1000 + 1, 1000, width=500)
            raise error
        finally:
            closed.append(threading.current_thread().name)

    with pytest.raises(type(error)) as caught, open_store(engine.profile()) as store:
        write_one(store, failing())
    assert caught.value is error
    # What is small is read at once, and the rest by a thread.
    assert closed == ["labmart-parser" if after else "MainThread"]
    assert no_thread_is_left()
    assert load_one(engine.profile()) == 1


def test_a_bad_record_ends_the_load_before_all_is_sent(engine: Engine) -> None:
    def batches() -> Iterator[Batch]:
        yield Batch("1,1,too,few\n" + "x" * 100 + "\n", 2, (), 1)
        yield from endless()

    with (
        pytest.raises(DatabaseFault, match=r"it refused the work: .*(missing data|CSV Error)"),
        open_store(engine.profile()) as store,
    ):
        write_one(store, batches())
    assert no_thread_is_left()


def test_two_first_loads_at_once_take_turns_and_one_says_that_it_waits(
    engine: Engine,
) -> None:
    code = """
    with open_store(profile) as store:
        load_id = write_one(store)
        print("has the turn", flush=True)
        input()
        store.commit()
    print(load_id)
    """
    both = [process(engine.profile(), code) for _ in range(2)]
    pipes = {one.stdout: one for one in both}
    [has_turn], _, _ = select.select([*pipes], [], [], 60)
    first = pipes[has_turn]
    [second] = [one for one in both if one is not first]
    assert second.stderr is not None
    assert second.stderr.readline() == "another load is at work; waiting …\n"
    said = [one.communicate("\n", timeout=60) for one in (first, second)]
    assert said == [("has the turn\n1\n", ""), ("has the turn\n2\n", "")]
    assert engine.rows("select count(*) from labmart_raw.people") == [(6,)]


def test_who_waits_can_be_interrupted(engine: Engine) -> None:
    with open_store(engine.profile()):
        waiting = process(engine.profile(), "with open_store(profile): pass")
        assert waiting.stderr is not None
        assert "waiting" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=60)
    assert "KeyboardInterrupt" in err


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_an_interrupt_ends_a_load_and_leaves_nothing(engine: Engine, pause: float) -> None:
    code = f"""
    def batches():
        for number, one in enumerate(endless(1, {pause})):
            yield one
            if number == 1:
                print("amid the load", flush=True)

    try:
        with open_store(profile) as store:
            write_one(store, batches())
    except KeyboardInterrupt:
        print("interrupted", no_thread_is_left())
    """
    loading = process(engine.profile(), code)
    assert loading.stdout is not None
    assert loading.stdout.readline() == "amid the load\n"
    loading.send_signal(signal.SIGINT)
    out, err = loading.communicate(timeout=60)
    assert (out, err) == ("interrupted True\n", "")
    assert load_one(engine.profile()) == 1
