"""What `costopt plan --arch` makes of a model: its experts, heads and embeddings, and where its shape is from."""

from dataclasses import replace

import pytest

from costopt.distributing import paper_models
from costopt.distributing.decoders import Answering, Decoder
from costopt.distributing.paper_options import Options
from tests.test_paper_plan import LLAMA, MINILM, MIXTRAL, planned


def decoder_of(options: Options) -> Decoder:
    work = paper_models.decoder(options)[0]
    assert isinstance(work, Answering)
    return work.decoder


def test_a_mixture_of_ones_own_shape_keeps_the_experts_of_the_published_one() -> None:
    own, like = decoder_of(MIXTRAL), decoder_of(Options("mixtral", params=46.7e9))
    assert own == like
    assert own.active_params == pytest.approx(12.9e9, rel=0.01)
    assert own.weight_bytes_read(1) < own.weight_bytes / 3


def test_heads_as_they_are_published_keep_their_published_width() -> None:
    nemo = decoder_of(Options("mistral", params=12e9, heads=32, hidden=5120))
    assert nemo.head_dim == decoder_of(Options("mistral", params=12e9)).head_dim == 128
    assert decoder_of(Options("mistral", params=12e9, heads=40)).head_dim == 128  # 5120 / 40
    assert decoder_of(Options("mistral", params=12e9, heads=16, kv_heads=8)).head_dim == 320


@pytest.mark.parametrize("params", [11.5e6, 12e6, 22.7e6, 40e6])
def test_an_encoder_multiplies_the_same_share_of_its_parameters_whatever_their_number(params: float) -> None:
    """30,522 x 384 of MiniLM's 22.7 million are embeddings: held in memory, looked up, and not read in a pass."""
    work = paper_models.encoder(Options("encoder", params=params, layers=6, tokens=128))[0]
    one = work.prefill()
    share = 1 - 30522 * 384 / 22.7e6 if params < 25e6 else 1 - 30522 * 384 / 33.4e6
    assert one.flops == pytest.approx(2 * share * params * 128 + 4 * 6 * 384 * 128**2)
    assert one.weight_bytes == pytest.approx(2 * share * params)
    assert work.weight_bytes == pytest.approx(2 * params)


def test_an_encoder_of_ones_own_shape_says_that_embeddings_count() -> None:
    own = Options("encoder", params=22.7e6, layers=6, hidden=384, heads=12)
    work, notes = paper_models.encoder(own)
    assert work.prefill().weight_bytes == work.weight_bytes
    assert "all parameters are taken to be multiplied: leave those of embeddings out of --params" in notes


def test_an_input_longer_than_the_model_was_published_for_is_told() -> None:
    assert "MiniLM-L6 was published for 512 tokens, not 513" in paper_models.encoder(replace(MINILM, tokens=513))[1]
    assert not any("was published for" in note for note in paper_models.encoder(replace(MINILM, tokens=512))[1])


@pytest.mark.parametrize(("bits", "row_bytes"), [(32, 4), (16, 2), (8, 2), (4, 2)])
def test_what_passes_between_layers_has_16_bits_at_least(bits: int, row_bytes: int) -> None:
    assert decoder_of(Options("llama", params=8e9, bits=bits)).row_bytes == 4096 * row_bytes
    assert paper_models.encoder(replace(MINILM, bits=bits))[0].prefill().row_bytes == 128 * 384 * row_bytes


def test_a_shape_from_memory_is_told() -> None:
    told = "the layers, width and heads of {} are from memory: check them"
    assert told.format("MiniLM-L6") in planned(MINILM).asked.notes
    assert not any("from memory" in note for note in planned(LLAMA).asked.notes)
