"""The sums behind plans on paper: decoders, collectives, parallel passes, training and queues, by worked figures."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.distributing import networks, published
from costopt.distributing.collectives import all_gather_s, all_reduce_s, send_s
from costopt.distributing.decoders import Answering, Decoder, Work
from costopt.distributing.deployments import BATCHES, Way
from costopt.distributing.forward import encoder_flops
from costopt.distributing.networks import Link
from costopt.distributing.pace import Pace, pace
from costopt.distributing.parallel import REACHED, Passed, Spread, bubble, evenly, exchange_s, passed
from costopt.distributing.replicas import Limits, least_copies, served, wait_tail_s
from costopt.distributing.training_steps import TrainingStep
from costopt.planning.capacity import MOST_LOAD
from costopt.planning.simulation import simulated
from costopt.projecting.hardware import chips

LLAMA_70B = Decoder("Llama 2 70B", 70e9, 70e9, 80, 8192, 64, 8, 128)
MIXTRAL = Decoder("Mixtral 8x7B", 46.7e9, 12.9e9, 32, 4096, 32, 8, 128, experts=8, experts_used=2)
H100 = chips()["NVIDIA H100 SXM"]


# ---------------------------------------------------------------------------------------- decoders


def test_llama_70b_keeps_327_680_bytes_a_token_and_weighs_140_gb() -> None:
    assert LLAMA_70B.kv_bytes_per_token == 327_680
    assert LLAMA_70B.weight_bytes == 140e9


def test_heads_of_their_own_keys_keep_eight_times_as_much() -> None:
    ungrouped = Decoder("", 70e9, 70e9, 80, 8192, 64, 64, 128)
    assert ungrouped.kv_bytes_per_token == 8 * LLAMA_70B.kv_bytes_per_token


def test_a_step_alone_takes_bytes_over_bandwidth() -> None:
    step = LLAMA_70B.step(1, 0)
    bound_s = 140e9 / H100.bytes_per_s
    found = passed(step, Spread(H100), "fp16", LLAMA_70B.heads)
    assert found.compute_s * REACHED["hbm"].memory == pytest.approx(bound_s)
    assert step.intensity == pytest.approx(1.0)  # two operations for each weight of two bytes


def test_a_prompt_costs_two_operations_a_weight_and_attention_on_top() -> None:
    prompt = LLAMA_70B.prefill(1000)
    assert prompt.flops == pytest.approx(2 * 70e9 * 1000 + 2 * 80 * 8192 * 1000**2)
    assert prompt.intensity > 900


def test_prompt_and_steps_do_the_same_attention() -> None:
    """Causal attention over s tokens at once is s steps, each over what came before."""
    at_once = LLAMA_70B.prefill(512).flops
    one_by_one = sum(LLAMA_70B.step(1, before + 0.5).flops for before in range(512))
    assert at_once == pytest.approx(one_by_one)


def test_a_mixture_reads_two_experts_for_one_token_and_all_for_many() -> None:
    assert MIXTRAL.weight_bytes_read(1) == pytest.approx(2 * 12.9e9)
    assert MIXTRAL.weight_bytes_read(1000) == pytest.approx(MIXTRAL.weight_bytes)
    assert LLAMA_70B.weight_bytes_read(1) == LLAMA_70B.weight_bytes


def test_an_encoder_looks_both_ways() -> None:
    assert encoder_flops(85e6, 12, 768, 128) == pytest.approx(2 * 85e6 * 128 + 4 * 12 * 768 * 128**2)


def test_without_bytes_operations_decide() -> None:
    assert Work(1.0, 0.0).intensity == math.inf


# Width of the feed-forward part, whether the last layer has the embedding's weights, the products in a feed-forward
# part (three where one of them gates), and learned positions: of the releases, from memory.
FEED_FORWARD = {
    "Llama 3.2 1B": (8192, True, 3, 0),
    "Llama 3.2 3B": (8192, True, 3, 0),
    "Llama 2 7B": (11008, False, 3, 0),
    "Llama 3.1 8B": (14336, False, 3, 0),
    "Llama 2 13B": (13824, False, 3, 0),
    "Llama 2 70B": (28672, False, 3, 0),
    "Llama 3.1 70B": (28672, False, 3, 0),
    "Llama 3.1 405B": (53248, False, 3, 0),
    "GPT-2": (3072, True, 2, 1024),
    "GPT-2 medium": (4096, True, 2, 1024),
    "GPT-2 large": (5120, True, 2, 1024),
    "GPT-2 XL": (6400, True, 2, 1024),
    "GPT-3 6.7B": (16384, True, 2, 2048),
    "GPT-3": (49152, True, 2, 2048),
    "Mistral 7B": (14336, False, 3, 0),
    "Mistral Nemo 12B": (14336, False, 3, 0),
    "Mistral Large 123B": (28672, False, 3, 0),
    "Mixtral 8x7B": (14336, False, 3, 0),
    "Mixtral 8x22B": (16384, False, 3, 0),
    "MiniLM-L6": (1536, True, 2, 512),
    "MiniLM-L12": (1536, True, 2, 512),
    "DistilBERT": (3072, True, 2, 512),
    "BERT-base": (3072, True, 2, 512),
    "BERT-large": (4096, True, 2, 512),
}


@pytest.mark.parametrize("one", published.models(), ids=lambda one: one.name)
def test_the_weights_of_every_published_shape_add_up_to_its_parameters(one: published.Published) -> None:
    """Matrices alone, to 1 %: norms and biases are less (GPT-3 is published in round figures)."""
    wide, tied, products, positions = FEED_FORWARD[one.name]
    attention = 2 * one.hidden * one.head_dim * (one.heads + one.kv_heads)
    expert = products * one.hidden * wide
    embedded = (one.vocabulary * (1 if tied else 2) + positions) * one.hidden
    for experts, told in ((one.experts, one.params), (one.experts_used, one.active_params)):
        summed = one.layers * (attention + experts * expert) + embedded
        assert summed == pytest.approx(told, rel=0.01), one.name


def test_every_published_shape_says_whether_it_is_from_memory() -> None:
    assert {one.shape for one in published.models()} == {"read", "recalled"}
    for one in published.models():
        assert one.source.startswith("https://") == (one.shape == "read"), one.name
        assert ("memory" in one.source) == (one.shape == "recalled"), one.name


@pytest.mark.parametrize(("field", "wrong"), [("80,8192,64,8", "80,8192,64,7"), ("80,8192,64,8", "0,8192,64,8")])
def test_a_published_model_whose_counts_do_not_fit_is_named(tmp_path: Path, field: str, wrong: str) -> None:
    path = tmp_path / "published.csv"
    path.write_text(published.CSV.read_text(encoding="utf-8").replace(field, wrong, 1))
    with pytest.raises(ValueError, match="Llama 2 70B"):
        published.models(path)


# ---------------------------------------------------------------------------------------- collectives


def test_bert_over_two_and_a_half_gigabit_loses_to_one_machine() -> None:
    """BERT-base at batch 1 with 128 tokens in fp32: 24 all-reduces of 393 kB between two machines take 30 ms."""
    row_bytes = 128 * 768 * 4
    assert row_bytes == 393_216
    network = networks.between("aws/g5.xlarge")
    assert network is not None
    assert network.gbit_per_s == 2.5
    exchanged_s = 24 * all_reduce_s(row_bytes, 2, network.bytes_per_s, 0.0)
    a10g = chips()["NVIDIA A10G"]
    work = Work(encoder_flops(85.6e6, 12, 768, 128), 4 * 109.5e6, row_bytes=row_bytes, layers=12)
    whole = passed(work, Spread(a10g), "fp32", 12)
    assert exchanged_s == pytest.approx(0.030, rel=0.01)
    assert exchanged_s > whole.compute_s
    two = passed(work, Spread(a10g, tensor=2, machines=2, link=network), "fp32", 12)
    assert two.seconds > whole.seconds


def test_one_alone_exchanges_nothing() -> None:
    assert all_reduce_s(1e9, 1, 1e9, 1e-3) == 0
    assert all_gather_s(1e9, 1, 1e9, 1e-3) == 0


sizes = st.floats(1, 1e12)
several = st.integers(2, 1024)


@given(sizes, several, st.floats(1e6, 1e12), st.floats(0, 1e-3))
def test_an_all_reduce_is_a_reduce_scatter_and_a_gather(
    size_bytes: float, n: int, bytes_per_s: float, latency_s: float
) -> None:
    both_s = 2 * all_gather_s(size_bytes, n, bytes_per_s, latency_s)
    found_s = all_reduce_s(size_bytes, n, bytes_per_s, latency_s)
    assert found_s == pytest.approx(both_s)
    assert found_s == pytest.approx(2 * (n - 1) / n * size_bytes / bytes_per_s + 2 * (n - 1) * latency_s)


@given(sizes, several, st.floats(1e6, 1e12), st.floats(0, 1e-3))
def test_more_machines_more_bytes_and_slower_links_never_exchange_sooner(
    size_bytes: float, n: int, bytes_per_s: float, latency_s: float
) -> None:
    found_s = all_reduce_s(size_bytes, n, bytes_per_s, latency_s)
    assert all_reduce_s(size_bytes, n + 1, bytes_per_s, latency_s) >= found_s
    assert all_reduce_s(2 * size_bytes, n, bytes_per_s, latency_s) >= found_s
    assert all_reduce_s(size_bytes, n, bytes_per_s / 2, latency_s) >= found_s


def test_a_send_is_bytes_over_bandwidth_and_a_latency() -> None:
    assert send_s(1e6, 1e9, 1e-5) == pytest.approx(1e-3 + 1e-5)


def test_every_link_has_a_rate_a_date_and_a_source() -> None:
    assert len(networks.links()) > 60
    p5 = networks.between("aws/p5.48xlarge")
    assert p5 is not None
    assert p5.gbit_per_s == 3200
    assert networks.between("gcp/g2-standard-4") is None


def test_a_link_that_breaks_the_rules_is_named(tmp_path: Path) -> None:
    path = tmp_path / "networks.csv"
    path.write_text(networks.CSV.read_text(encoding="utf-8").replace("aws/g5.xlarge,2.5", "aws/g5.xlarge,0"))
    with pytest.raises(ValueError, match=r"aws/g5\.xlarge"):
        networks.links(path)


def test_few_chips_use_few_of_the_links_of_a_mesh_and_all_of_a_switch() -> None:
    mesh, switch, grid = (
        networks.inside("AMD MI300X"),
        networks.inside("NVIDIA H100 SXM"),
        networks.between("gcp/tpu-v5p"),
    )
    assert mesh is not None
    assert switch is not None
    assert grid is not None
    assert [mesh.bytes_per_s_among(n) for n in (2, 4, 8)] == pytest.approx([64e9, 3 * 64e9, 448e9])
    assert [switch.bytes_per_s_among(n) for n in (2, 8)] == [450e9, 450e9]
    assert [grid.bytes_per_s_among(n) for n in (2, 4, 64)] == pytest.approx([100e9, 200e9, 300e9])


def test_every_generation_of_a_kind_of_chip_is_linked_at_least_as_fast() -> None:
    def gbit(scope: networks.Scope, *names: str) -> list[float]:
        return [networks.links()[scope, name].gbit_per_s for name in names]

    for rising in (
        gbit("inside", "NVIDIA A100 40GB SXM", "NVIDIA H100 SXM", "NVIDIA B200 SXM"),
        gbit("between", "gcp/tpu-v4", "gcp/tpu-v5p"),
        gbit("between", "gcp/tpu-v5e", "gcp/tpu-v6e"),
    ):
        assert rising == sorted(set(rising))
    assert gbit("between", "gcp/tpu-v5p") == [2 * gbit("between", "gcp/tpu-v4")[0]]  # "twice the bandwidth" of v4


# ---------------------------------------------------------------------------------------- parallel passes

NVLINK = Link("inside", "", 3600, 1, "NVLink", "recalled", "2026-11", "a test")
ETHERNET = Link("between", "", 10, 50, "Ethernet", "recalled", "2026-11", "a test")


def test_tensor_parallel_chips_share_a_step_and_sum_up_twice_a_layer() -> None:
    step = LLAMA_70B.step(8, 1000)
    one, two = (passed(step, Spread(H100, tensor=n, link=NVLINK if n > 1 else None), "fp16", 64) for n in (1, 2))
    assert two.compute_s == pytest.approx(one.compute_s / 2)
    assert two.exchange_s == pytest.approx(160 * all_reduce_s(8 * 8192 * 2, 2, 450e9, 1e-6))
    assert one.exchange_s == 0


def test_a_pipeline_shortens_nothing_and_hands_on_once_a_stage() -> None:
    step = LLAMA_70B.step(8, 1000)
    alone = passed(step, Spread(H100), "fp16", 64)
    staged = passed(step, Spread(H100, stages=4, machines=4, stage_link=ETHERNET), "fp16", 64)
    assert staged.compute_s == pytest.approx(alone.compute_s / 4 * 4)
    assert staged.exchange_s == pytest.approx(3 * send_s(8 * 8192 * 2, 1.25e9, 50e-6))


def test_what_cannot_be_dealt_out_evenly_waits_for_the_longest_share() -> None:
    assert evenly(40, 16) == pytest.approx(3 / 2.5)
    assert evenly(64, 8) == 1
    assert evenly(0, 8) == 1


def test_a_chip_without_the_rate_is_named() -> None:
    with pytest.raises(ValueError, match="Google TPU v5e has no fp32 rate"):
        passed(Work(1.0, 1.0), Spread(chips()["Google TPU v5e"]), "fp32", 1)


def test_a_pipeline_of_four_with_four_batches_waits_three_sevenths() -> None:
    assert bubble(4, 4) == pytest.approx(3 / 7)
    assert bubble(1, 9) == 0


@given(st.integers(1, 64), st.integers(1, 64))
def test_more_batches_make_the_bubble_smaller(stages: int, batches: int) -> None:
    assert 0 <= bubble(stages, batches + 1) <= bubble(stages, batches) < 1


# ---------------------------------------------------------------------------------------- training


def step_of(compute_s: float = 1.0) -> TrainingStep:
    """110 million gradients in fp32 over 2.5 Gbit/s."""
    return TrainingStep(compute_s, 440e6, 2.5e9 / 8, 50e-6)


def test_two_machines_over_a_slow_network_train_slower_than_one() -> None:
    step = step_of()
    assert step.seconds(2) == pytest.approx(0.5 + 440e6 / (2.5e9 / 8) + 2 * 50e-6)
    assert step.seconds(2) > step.seconds(1)
    assert step.fastest() == 1
    assert step.efficiency(1) == 1
    assert step.communication_share(2) == pytest.approx(1.4081 / 1.9081, rel=1e-3)


def test_machines_beyond_the_best_number_cost_more() -> None:
    step = step_of(compute_s=60.0)
    best = step.most_worth(1.0, waiting_usd_per_hour=100.0)
    assert 1 < best < step.fastest()
    for n in (best - 1, best + 1):
        assert step.usd(n, 1.0, 100.0) >= step.usd(best, 1.0, 100.0)


@given(st.floats(1e-3, 1e3), st.integers(1, 512))
def test_where_nobody_waits_each_machine_more_costs_more(compute_s: float, n: int) -> None:
    step = step_of(compute_s)
    assert step.usd(n + 1, 1.0) > step.usd(n, 1.0)
    assert 0 < step.efficiency(n) <= 1
    assert step.efficiency(n + 1) <= step.efficiency(n)


# ---------------------------------------------------------------------------------------- pace and queues


def way(tensor: int = 2) -> Way:
    return Way(Spread(H100, tensor=tensor, link=NVLINK if tensor > 1 else None), 4, 256, 0.0, 80e9)


CHAT = Answering(LLAMA_70B, 550, 150, 8192)


def test_what_a_full_batch_takes_adds_up_by_littles_law() -> None:
    found = pace(CHAT, way(), 16)
    assert found.stay_s == pytest.approx(16 / found.requests_per_s)
    assert found.stay_s == pytest.approx(found.prefill_s + 150 * found.tpot_s)


@given(st.sampled_from(BATCHES[:-1]), st.sampled_from([LLAMA_70B, MIXTRAL]), st.integers(1, 4000), st.integers(1, 4000))
def test_a_larger_batch_never_serves_less(batch: int, model: Decoder, prompt: int, answer: int) -> None:
    work = Answering(model, prompt, answer, prompt + answer)
    small, big = (pace(work, way(), one) for one in (batch, BATCHES[BATCHES.index(batch) + 1]))
    assert big.requests_per_s >= small.requests_per_s * (1 - 1e-9)
    assert big.tpot_s >= small.tpot_s * (1 - 1e-9)


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_more_tokens_never_take_less(prompt: int, answer: int) -> None:
    base, longer, more = (
        pace(Answering(LLAMA_70B, one, other, one + other), way(), 8).seconds_per_request
        for one, other in ((prompt, answer), (prompt + 1, answer), (prompt, answer + 1))
    )
    assert base <= longer
    assert base < more


@given(st.integers(1, 3000), st.floats(0.01, 0.95), st.floats(1e-4, 10))
def test_more_servers_never_wait_longer(servers: int, load: float, mean_s: float) -> None:
    rate = load * servers / mean_s
    waits = [wait_tail_s(number, rate, mean_s, 0.01) for number in (servers, servers + 1, 2 * servers)]
    assert waits[0] >= waits[1] - 1e-9 >= waits[2] - 2e-9


@pytest.mark.parametrize("copies", [1, 2, 4, 16])
@pytest.mark.parametrize("load", [0.02, 0.1, 0.3, 0.5, 0.8])
def test_waits_for_a_pass_that_always_takes_the_same_are_not_understated(copies: int, load: float) -> None:
    """Against a simulation of M/D/c: at most 5 % shorter, and no more than a service longer."""
    one = Pace(1, Passed(1.0), Passed(0.0), 1, 0, 1)
    planned = served(one, load * copies, copies, 0.99)
    assert planned is not None
    seen_s = simulated(np.array([1.0]), load * copies, copies, requests=100_000, seed=3).percentile_s(0.99)
    assert 0.95 * seen_s <= planned.ttft_s <= seen_s + 1.0


def test_no_copy_is_planned_to_be_busier_than_the_most() -> None:
    found = pace(CHAT, way(), 16)
    one = least_copies(found, 30.0, Limits(0.99))
    assert one is not None
    assert one.load <= MOST_LOAD * (1 + 1e-9)
    assert served(found, 30.0, one.copies - 1, 0.99) is None


@given(st.floats(0.01, 500), st.floats(0.2, 20))
def test_a_looser_limit_never_needs_more_copies_nor_less_traffic(rate_per_s: float, ttft_s: float) -> None:
    found = pace(CHAT, way(), 16)
    tight = least_copies(found, rate_per_s, Limits(0.99, ttft_s=ttft_s))
    loose = least_copies(found, rate_per_s, Limits(0.99, ttft_s=1.5 * ttft_s))
    fewer = least_copies(found, rate_per_s / 2, Limits(0.99, ttft_s=ttft_s))
    assert tight is not None
    assert loose is not None
    assert fewer is not None
    assert max(loose.copies, fewer.copies) <= tight.copies
    assert tight.ttft_s <= ttft_s


def test_a_limit_below_the_prompt_itself_is_kept_by_no_number() -> None:
    found = pace(CHAT, way(), 16)
    assert least_copies(found, 1.0, Limits(0.99, ttft_s=found.prefill_s)) is None
    assert least_copies(found, 1.0, Limits(0.99, tpot_s=found.tpot_s * 0.99)) is None


def test_copies_come_in_whole_machines() -> None:
    found = pace(CHAT, way(), 16)
    one = least_copies(found, 40.0, Limits(0.99), step_of=4)
    assert one is not None
    assert one.copies % 4 == 0


def test_exchange_of_a_single_chip_is_nothing() -> None:
    assert exchange_s(LLAMA_70B.step(1, 1), Spread(H100)) == 0
