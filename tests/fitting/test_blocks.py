"""Work in blocks gives what work in one piece gives, in one thread and in several."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.child_process import HANGS

from tl_negation.fitting import blocks, engine
from tl_negation.fitting.blocks import compute
from tl_negation.fitting.scratch import Scratch

VALUES = torch.randn(3, 11, 7, generator=torch.Generator().manual_seed(0))


def work(x, scratch):
    """Columns of three kinds, through scratch memory that holds what the last block left."""
    squares = torch.mul(x, x, out=scratch.like("squares", x))
    return {
        "mean": squares.mean(dim=0).double(),
        "code": (x.sum(dim=0) > 0).to(torch.int8),
        "first": x[0] == x.amax(dim=0),
    }


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_whole(found):
    assert found["mean"].dtype == torch.float64
    assert (found["code"].dtype, found["first"].dtype) == (torch.int8, torch.bool)
    torch.testing.assert_close(
        found["mean"], VALUES.square().mean(dim=1).double(), atol=0, rtol=1e-6
    )
    assert torch.equal(found["code"], (VALUES.sum(dim=1) > 0).to(torch.int8))
    assert torch.equal(found["first"], VALUES[:, 0] == VALUES.amax(dim=1))


@pytest.mark.parametrize("threads", ["one_thread", "two_threads"])
@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 6, 7, 8, 13, 14, 20, 21, 1000])
def test_blocks_of_any_size_give_the_whole(request, threads, chunk):
    request.getfixturevalue(threads)
    assert_whole(compute(VALUES, work, chunk=chunk))


@pytest.mark.parametrize(
    ("chunk", "shapes"),
    [
        (1000, [(11, 21)]),
        (20, [(11, 14), (11, 7)]),  # two layers, then the one that is left
        (13, [(11, 7)] * 3),
        (5, [(11, 5), (11, 2)] * 3),
    ],
)
def test_small_layers_are_worked_on_together_and_wide_ones_are_cut(one_thread, chunk, shapes):
    seen = []

    def noted(x, scratch):
        seen.append(tuple(x.shape))
        return work(x, scratch)

    assert_whole(compute(VALUES, noted, chunk=chunk))
    assert seen == shapes


def test_threads_change_no_bit(request):
    values = torch.randn(4, 50, 33, generator=torch.Generator().manual_seed(1))

    def sums(x, scratch):
        return {"sum": torch.exp(x, out=scratch.like("x", x)).double().sum(dim=0)}

    request.getfixturevalue("one_thread")
    alone = compute(values, sums, chunk=5)["sum"]
    request.getfixturevalue("two_threads")
    assert torch.equal(compute(values, sums, chunk=5)["sum"], alone)


def test_every_thread_has_its_own_scratch(two_threads):
    owners, barrier = {}, threading.Barrier(2, timeout=HANGS)

    def noted(x, scratch):
        owners.setdefault(id(scratch), set()).add(threading.get_ident())
        if len(owners) < 2:
            barrier.wait()  # until the other thread has come as well
        elif barrier.n_waiting:
            barrier.wait()
        return {"n": torch.get_num_threads() * torch.ones(x.shape[1])}

    found = compute(VALUES, noted, chunk=1)
    assert len(owners) == 2
    assert all(len(threads) == 1 for threads in owners.values())
    assert (found["n"] == 1).all()  # no threads within threads


@pytest.mark.parametrize("threads", ["one_thread", "two_threads"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_comes_through_and_leaves_the_threads_as_they_were(
    request, threads, error, monkeypatch
):
    request.getfixturevalue(threads)
    before = torch.get_num_threads()
    running, seen = threading.active_count(), []
    first = VALUES[:, 0].flatten().tolist()  # by which a block of one unit is known
    stopped = threading.Event()  # nothing more is begun

    class Pool(ThreadPoolExecutor):
        def shutdown(self, **options):
            super().shutdown(wait=False, cancel_futures=True)
            stopped.set()
            super().shutdown(**options)

    monkeypatch.setattr(blocks, "ThreadPoolExecutor", Pool)

    def fails(x, scratch):
        seen.append(x)
        block = first.index(x[0].item())
        if block == 2:
            raise error("in a block")
        assert block < 2 or stopped.wait(HANGS)  # the other thread's, which is not cut off
        return work(x, scratch)

    with pytest.raises(error, match="in a block"):
        compute(VALUES, fails, chunk=1)
    assert len(seen) < 21
    assert torch.get_num_threads() == before
    assert threading.active_count() == running
    assert_whole(compute(VALUES, work, chunk=1))


def test_the_number_of_threads_is_as_before(two_threads):
    compute(VALUES, work, chunk=1)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("chunk", [0, -3])
def test_chunk_below_1_is_refused(chunk):
    with pytest.raises(ValueError, match=f"chunk must be at least 1 unit; got {chunk}"):
        compute(VALUES, work, chunk=chunk)


def test_a_device_has_its_own_block_size(one_thread, monkeypatch):
    seen = []
    monkeypatch.setitem(engine.ENGINES, "cpu", engine.ROWS._replace(units=4))
    compute(VALUES, lambda x, scratch: seen.append(x.shape[1]) or work(x, scratch))
    assert seen == [4, 3] * 3


def test_progress_counts_units_and_is_silent_unless_asked_for(one_thread, capsys):
    compute(VALUES, work, chunk=5, desc="counting")
    assert capsys.readouterr().err == ""
    compute(VALUES, work, chunk=5, desc="counting", progress=True)
    err = capsys.readouterr().err
    assert "counting" in err
    assert "21/21" in err


def test_scratch_is_lent_again():
    scratch, x = Scratch(), torch.zeros(4, 6)
    first = scratch.like("a", x)
    assert first.shape == x.shape
    assert scratch.like("a", x[:, :2]).data_ptr() == first.data_ptr()
    assert scratch.like("b", x).data_ptr() != first.data_ptr()
    assert scratch.like("a", x, torch.float64).dtype == torch.float64
    larger = scratch.like("a", torch.zeros(9, 9))
    assert larger.shape == (9, 9)
    assert larger.data_ptr() == scratch.like("a", x).data_ptr()
