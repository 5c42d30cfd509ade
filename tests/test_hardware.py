"""Chips and who carries them: a figure out of the wrong row would be a wrong bill that looks right."""

from pathlib import Path

import pytest

from costopt.pricing import book
from costopt.projecting import hardware


def carried(instance: str) -> hardware.Carried | None:
    return hardware.carried_by(book.overlaid(book.read(book.SHIPPED), ()).of(instance)[0])


def test_every_chip_has_a_date_a_source_and_a_rate() -> None:
    assert len(hardware.chips()) >= 30


@pytest.mark.parametrize(
    ("instance", "chip", "count"),
    [
        ("aws/c7i.4xlarge", "Sapphire Rapids core", 8),
        ("aws/c7i.large", "Sapphire Rapids core", 1),
        ("aws/c7a.large", "EPYC Genoa core", 2),
        ("aws/c7g.xlarge", "Graviton3 core", 4),
        ("aws/g4dn.12xlarge", "NVIDIA T4", 4),
        ("gcp/tpu-v5e", "Google TPU v5e", 1),
        ("aws/f2.6xlarge", "AMD VU47P", 1),
    ],
)
def test_a_machine_carries_what_its_provider_says(instance: str, chip: str, count: int) -> None:
    found = carried(instance)
    assert found is not None
    assert (found.chip.name, found.count) == (chip, count)


@pytest.mark.parametrize("instance", ["gcp/e2-standard-4", "azure/Standard_D4s_v5", "aws/g5g.xlarge"])
def test_a_machine_whose_chip_is_not_told_carries_nothing_that_is_known(instance: str) -> None:
    assert carried(instance) is None


def test_what_has_no_units_of_a_precision_runs_on_wider_ones() -> None:
    t4, ice_lake = hardware.chips()["NVIDIA T4"], hardware.chips()["Ice Lake core"]
    assert t4.peak_per_s("int8") == 130e12
    assert ice_lake.peak_per_s("fp16") == ice_lake.peak_per_s("fp32")
    assert hardware.chips()["Google TPU v5e"].peak_per_s("fp32") is None


def test_a_row_that_breaks_the_rules_is_named(tmp_path: Path) -> None:
    text = hardware.CSV.read_text(encoding="utf-8")
    broken = tmp_path / "hardware.csv"
    broken.write_text(text.replace("NVIDIA T4,gpu,NVIDIA T4,8.1,65", "NVIDIA T4,gpu,NVIDIA T4,-8.1,65"))
    with pytest.raises(ValueError, match="NVIDIA T4"):
        hardware.chips(broken)
