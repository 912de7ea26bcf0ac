"""Errors of one process of a job end all of them. Threads stand for processes."""

import threading

import pytest

from audioldm2_jax import distributed
from audioldm2_jax.distributed import gather_bytes, shared_errors
from audioldm2_jax.errors import InputError, NumericalError


@pytest.fixture
def run(monkeypatch):
    """run(f, g): what each of two processes returns or raises; a wait for ever is an error."""
    barrier, slots, here = threading.Barrier(2, timeout=5), [b"", b""], threading.local()

    def gather(content):
        slots[here.index] = content
        barrier.wait()
        contents = list(slots)
        barrier.wait()
        return contents

    monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed, "_gather", gather)

    def start(*functions):
        results = [None, None]

        def process(index):
            here.index = index
            try:
                results[index] = functions[index]()
            except Exception as error:
                results[index] = error

        threads = [threading.Thread(target=process, args=(i,)) for i in (0, 1)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return results

    return start


def works(rounds):
    """Exchanges so often, within the block."""

    def process():
        with shared_errors():
            return [gather_bytes(bytes([i])) for i in range(rounds)]

    return process


def fails(rounds, error):
    def process():
        with shared_errors():
            for i in range(rounds):
                gather_bytes(bytes([i]))
            raise error

    return process


def test_without_errors_all_get_all(run):
    assert run(works(2), works(2)) == [[[b"\0", b"\0"], [b"\1", b"\1"]]] * 2


@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("kind", [InputError, NumericalError])
def test_an_error_before_between_and_after_exchanges(run, rounds, kind):
    own = kind("weights: no such file")
    other, raised = run(works(3), fails(rounds, own))
    assert raised is own and type(other) is kind
    assert str(other) == "process 1: weights: no such file"


def test_errors_of_both_are_their_own(run):
    errors = InputError("a"), NumericalError("b")
    assert run(*(fails(1, error) for error in errors)) == list(errors)


def test_blocks_in_blocks_say_it_once(run):
    """A row of a table fails in both, and the next one runs."""

    def rows(fail):
        def process():
            lines = []
            with shared_errors():
                for row in range(3):
                    try:
                        (fails(1, InputError("no clip")) if fail == row else works(2))()
                        lines.append("done")
                    except InputError as error:
                        lines.append(str(error))
            return lines

        return process

    assert run(rows(None), rows(1)) == [
        ["done", "process 1: no clip", "done"],
        ["done", "no clip", "done"],
    ]


def test_one_process_waits_for_nobody():
    assert gather_bytes(b"x") == [b"x"]
    with pytest.raises(InputError, match="^a$"), shared_errors():
        raise InputError("a")
