"""A batch that several threads divide: the same results, in order, and nothing of theirs left behind."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from atm.policy import MergePolicy
from atm.shards import in_threads, shards
from tests.atm.models import tiny_encoder

IMAGES = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("exit_layer", [1, 3])
@pytest.mark.parametrize("order", ["place", "tome"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_shards_change_nothing(threads, exit_layer, order, mode):
    encoder, policy = tiny_encoder(), MergePolicy((0.4,) * 3, exit_layer=exit_layer, order=order)
    with mode():
        found = encoder(IMAGES, policy)
        logits = encoder.finish(found.tokens, policy)
        torch.set_num_threads(1)
        wanted = encoder(IMAGES, policy)
        torch.testing.assert_close(logits, encoder.finish(wanted.tokens, policy), atol=1e-5, rtol=1e-4)
    assert found.layer_tokens.equal(wanted.layer_tokens) and len(set(found.tokens.counts)) > 1
    assert found.tokens.source.equal(wanted.tokens.source) and found.flops.equal(wanted.flops)
    torch.testing.assert_close(found.tokens.values, wanted.tokens.values, atol=1e-5, rtol=1e-4)
    assert found.tokens.values.is_inference() == (mode is torch.inference_mode)


@torch.no_grad()
def test_every_image_is_in_one_shard(threads):
    parts = shards(7, torch.device("cpu"))
    assert len(parts) == threads
    assert [image for part in parts for image in range(7)[part]] == list(range(7))
    assert shards(1, torch.device("cpu")) == [slice(0, 1)] and shards(7, torch.device("cuda")) == [slice(0, 7)]
    assert shards(0, torch.device("cpu")) == [slice(0, 0)]


def test_gradients_keep_a_batch_together(threads):
    assert shards(7, torch.device("cpu")) == [slice(0, 7)]
    images = IMAGES.clone().requires_grad_()
    tiny_encoder()(images, MergePolicy.uniform(0.4, 3)).tokens.values.sum().backward()
    assert images.grad.abs().sum() > 0


@torch.no_grad()
def test_a_mode_of_the_callers_thread_sees_all(threads):
    encoder, policy = tiny_encoder(), MergePolicy.fixed_ratio(2, 3)
    with FlopCounterMode(display=False) as counter:
        flops = encoder(IMAGES, policy).flops
    assert counter.get_total_flops() == flops.sum()
    with torch.autocast("cpu"):
        assert shards(7, torch.device("cpu")) == [slice(0, 7)]


@torch.no_grad()
def test_each_part_has_one_thread_of_its_own_and_the_caller_keeps_its_own(threads):
    meeting = threading.Barrier(threads, timeout=60)  # passed only if all run at the same time

    def run(part):
        meeting.wait()
        return part, torch.get_num_threads(), threading.get_ident(), torch.is_grad_enabled()

    parts, own, idents, grads = zip(*in_threads(run, range(threads), list), strict=True)
    assert parts == tuple(range(threads)) and set(own) == {1} and len(set(idents)) == threads and not any(grads)
    assert torch.get_num_threads() == threads and threading.get_ident() not in idents
    fresh = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [threads]


@torch.no_grad()
def test_an_error_in_a_thread_is_the_callers(threads):
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 // part, [1, 0], list)
    assert torch.get_num_threads() == threads


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_after_a_fork_there_are_new_threads(threads):
    with torch.no_grad():
        in_threads(str, [1, 2], list)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_ask, args=(answers,))
    child.start()
    child.join(60)
    assert child.exitcode == 0 and answers.get() == ["1", "2"]


@torch.no_grad()
def _ask(answers):
    answers.put(in_threads(str, [1, 2], list))
