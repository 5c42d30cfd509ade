"""Candidates on machines that are not here: which label, which pace, and what is said where there is none."""

from dataclasses import replace

import pytest

from costopt.judging.choose import judge
from costopt.planning import paces, services
from costopt.planning.paces import Elsewhere, Known, Paced
from costopt.pricing import book
from costopt.pricing.offers import Offer
from costopt.projecting.calibration import Calibration
from costopt.projecting.fitting import COLUMNS
from costopt.projecting.work import Work
from costopt.records import Machine
from tests import factories
from tests.factories import TODAY, measured, recipe

FOUND = (measured(ms=4.0, baseline_ms=4.0), measured(recipe("int8_static"), ms=2.0, baseline_ms=4.0))
WIDE, NARROW = services.of_run(judge(factories.run(FOUND), FOUND, factories.plan(), TODAY), FOUND, None)

DENSE = Work("n", "MatMul", "matmul", "fp32", 1e8, 1e8)
IN_8_BITS = replace(DENSE, precision="int8")
KNOWN = (Known(WIDE, (DENSE,), 1e6, 1e8), Known(NARROW, (IN_8_BITS,), 1e6, 1e8))

EPYC = Machine("AMD EPYC", 2, 2**33, "Linux", ("avx2", "avx512_bf16"))
BOOK = book.overlaid(book.read(book.SHIPPED), ())


def offer(instance: str) -> Offer:
    return BOOK.of(instance)[0]


def calibration(instance: str, machine: Machine, second_an_operation: float, threads: int = 2) -> Calibration:
    rates = {**dict.fromkeys(COLUMNS, 0.0), "matmul_fp32": second_an_operation, "matmul_int8": second_an_operation}
    return Calibration(1, "0.1.0", "1.31.1", "2026", machine, instance, "cpu", threads, 2**25, rates, {"one": 0.0})


def elsewhere(*calibrations: Calibration, known: tuple[Known, ...] = KNOWN) -> Elsewhere:
    return Elsewhere(EPYC, paces.core_of(EPYC), known, {}, calibrations)


def at(instance: str, *calibrations: Calibration, known: tuple[Known, ...] = KNOWN) -> Paced:
    found = elsewhere(*calibrations, known=known).at(offer(instance), offer(instance).vcpus or 0)
    assert isinstance(found, Paced)
    return found


ARM = Machine("Neoverse-V1", 2, 2**32, "Linux")


def test_with_calibrations_of_both_the_pace_is_the_ratio_of_what_they_foretell() -> None:
    found = at("aws/c7g.large", calibration("aws/c7g.large", ARM, 3e-11), calibration("", EPYC, 2e-11))
    assert found.threads == 2
    assert found.paces == {one.id: pytest.approx(1.5) for one in KNOWN}
    assert not found.cannot
    assert not found.unclear


def test_without_one_of_this_machine_it_is_held_against_what_was_measured() -> None:
    found = at("aws/c7g.large", calibration("aws/c7g.large", ARM, 3e-11))
    assert found.paces[KNOWN[0].id] == pytest.approx(3e-11 * 1e8 / WIDE.mean_s)


def test_another_size_of_a_calibrated_family_is_projected_from_the_same_file() -> None:
    found = at("aws/c7g.xlarge", calibration("aws/c7g.large", ARM, 3e-11), calibration("", EPYC, 2e-11))
    assert found.threads == 0
    assert found.paces[KNOWN[0].id] == pytest.approx(1.5)


def test_a_calibration_of_other_threads_does_not_count() -> None:
    found = at("aws/c7g.large", calibration("aws/c7g.large", ARM, 3e-11, threads=1))
    assert found.threads == 0
    assert found.paces[KNOWN[0].id] == pytest.approx(0.118 / 0.0832, rel=0.01)


def test_two_threads_of_one_core_are_not_two_cores() -> None:
    """A c7i.large sells one Sapphire Rapids core as two vCPUs; here there were two Genoa cores."""
    assert at("aws/c7i.large").paces[KNOWN[0].id] == pytest.approx(2 * 0.118 / 0.205, rel=0.01)


def test_a_gpu_is_projected_and_has_no_kernels_for_8_bits() -> None:
    found = at("aws/g4dn.xlarge")
    assert found.paces == {KNOWN[0].id: pytest.approx((1e8 / 8.1e12 / 0.5 + 7.5e-6) / WIDE.mean_s)}
    assert "no CUDA kernels" in found.cannot[KNOWN[1].id]
    assert not found.open


def test_a_model_that_does_not_fit_a_gpus_memory_cannot_run_there() -> None:
    large = replace(KNOWN[0], size_bytes=15e9)
    found = elsewhere(known=(large,)).at(offer("aws/g4dn.xlarge"), 4)
    assert found == "it needs more memory than NVIDIA T4 has"


@pytest.mark.parametrize("instance", ["gcp/tpu-v5e", "aws/inf2.xlarge"])
def test_nothing_is_certain_where_it_takes_another_toolchain(instance: str) -> None:
    assert "another toolchain" in at(instance).open


def test_an_fpga_and_a_processor_that_is_not_told_have_no_pace_and_the_reason() -> None:
    assert "no maintained execution provider" in str(elsewhere().at(offer("aws/f2.6xlarge"), 24))
    assert "not in the hardware table" in str(elsewhere().at(offer("gcp/e2-standard-4"), 4))
    unknown = Elsewhere(ARM, paces.core_of(ARM), KNOWN, {})
    assert "the processor here, Neoverse-V1, is not in the hardware table" in str(unknown.at(offer("aws/c7g.large"), 2))


def test_services_side_by_side_are_as_many_as_memory_holds() -> None:
    heavy = tuple(replace(one, peak_bytes=2.5e9) for one in KNOWN)
    assert elsewhere().fitting(offer("aws/c7g.xlarge"), 4) == 2
    assert elsewhere(known=heavy).fitting(offer("aws/c7g.xlarge"), 4) == 2
    assert elsewhere(known=heavy).fitting(offer("aws/c7g.large"), 2) == 1
    assert elsewhere(known=tuple(replace(one, peak_bytes=6e9) for one in KNOWN)).fitting(offer("aws/c7g.large"), 2) == 0


def test_a_calibration_of_another_onnx_runtime_or_of_other_threads_says_so() -> None:
    strange = replace(calibration("aws/c7g.large", ARM, 3e-11, threads=7), onnxruntime="0.1")
    told = list(replace(elsewhere(strange), onnxruntime="1.31.1").notes())
    assert "was made with ONNX Runtime 0.1, the run with 1.31.1" in told[0]
    assert "holds for 7 threads of cpu, and no candidate ran so: it tells nothing here" in told[1]
