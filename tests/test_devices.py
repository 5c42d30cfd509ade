"""The table of power figures keeps its own rules, and a machine gets the row that is surely its own, or none."""

import datetime
import re
from pathlib import Path

import pytest

from costopt.measuring import devices
from costopt.records import Machine

XEON = "Intel(R) Xeon(R) Platinum"


def machine(cpu: str, *features: str) -> Machine:
    return Machine(cpu, 2, 4 * 2**30, "Linux 6.1 x86_64", features)


@pytest.mark.parametrize("row", devices.read(), ids=lambda row: row.name)
def test_every_figure_has_a_date_and_a_source_that_can_be_looked_up(row: devices.Device) -> None:
    assert datetime.date.fromisoformat(row.as_of if len(row.as_of) == 10 else f"{row.as_of}-01")
    assert re.match(r"https://\w+", row.source)


@pytest.mark.parametrize(
    ("cpu", "row"),
    [
        ("Intel(R) Xeon(R) Platinum 8480+", "Intel Xeon Platinum 8480+"),
        (f"{XEON} 8375C CPU @ 2.90GHz", "Intel Xeon Platinum 8375C"),
        ("AMD EPYC 9654 96-Core Processor", "AMD EPYC 9654"),
        (f"{XEON} 8488C", "Sapphire Rapids Xeon class"),
        ("INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.30GHz", "Emerald Rapids Xeon class"),
        (f"{XEON} 8370C CPU @ 2.80GHz", "Ice Lake Xeon class"),
        (f"{XEON} 8259CL CPU @ 2.50GHz", "Cascade Lake Xeon class"),
        ("Intel Xeon Processor (Icelake)", "Ice Lake Xeon class"),
        ("AMD EPYC 7R13 Processor", "EPYC 3rd generation class"),
        ("AMD EPYC 7B12", "EPYC 2nd generation class"),
        ("AMD EPYC 9R14", "EPYC 4th generation class"),
        ("AMD EPYC-Genoa Processor", "EPYC 4th generation class"),
    ],
)
def test_a_cpu_that_names_its_model_gets_that_row(cpu: str, row: str) -> None:
    found = devices.device_of(machine(cpu))
    assert found is not None
    assert (found.name, found.recognised_by) == (row, f"the name '{cpu}'")


@pytest.mark.parametrize(
    ("cpu", "features", "row"),
    [
        ("Intel(R) Xeon(R) Processor", ("avx512f", "amx_tile"), "Sapphire Rapids Xeon class"),
        ("AMD EPYC", ("avx512f", "avx512_bf16"), "EPYC 4th generation class"),
    ],
)
def test_a_cpu_without_a_model_is_told_by_its_instructions_and_the_words_say_so(
    cpu: str, features: tuple[str, ...], row: str
) -> None:
    found = devices.device_of(machine(cpu, *features))
    assert found is not None
    assert found.name == row
    assert found.recognised_by.startswith(f"'{cpu}' names no model, but it has A")


@pytest.mark.parametrize(
    ("cpu", "features"),
    [
        ("AMD EPYC", ("avx2",)),  # any of three generations
        ("AMD EPYC", ("avx512_bf16", "avx_vnni")),  # the 5th, for which there is no figure to trust
        ("Intel(R) Xeon(R) Processor", ("avx512_vnni",)),  # Cascade Lake, Cooper Lake or Ice Lake
        ("Intel(R) Xeon(R) Platinum 8380H CPU", ()),  # Cooper Lake counts as 3rd generation, and is no Ice Lake
        ("aarch64", ("asimd", "sve")),  # a Graviton does not say which; its power is not published either
        ("Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz", ("avx2",)),
        ("AMD Ryzen 7 7840U", ("avx512_bf16",)),
    ],
)
def test_what_cannot_be_told_has_no_row(cpu: str, features: tuple[str, ...]) -> None:
    assert devices.device_of(machine(cpu, *features)) is None


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("Tesla T4", "NVIDIA T4"),
        ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB SXM"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM"),
        ("NVIDIA H100 PCIe", "NVIDIA H100 PCIe"),
    ],
)
def test_a_gpu_gets_the_row_of_its_name(name: str, row: str) -> None:
    found = devices.gpu_of(name)
    assert found is not None
    assert found.name == row


@pytest.mark.parametrize("name", ["NVIDIA A10G", "NVIDIA L40", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA H100 NVL"])
def test_a_gpu_whose_name_only_begins_alike_has_no_row(name: str) -> None:
    assert devices.gpu_of(name) is None


HEADER = "name,kind,pattern,unit,units,idle_power_w,max_power_w,as_of,source,note"
GOOD = "X,cpu,x,core,4,10,40,2026-01-01,https://example.org,"


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (f"name,kind\n{GOOD}", "the columns must be"),
        (f"{HEADER}\n{GOOD}\n{GOOD}", "twice: X"),
        (f"{HEADER}\n{GOOD},extra", "more fields than columns"),
        (f"{HEADER}\nX,cpu,x,core,4,10", "max_power_w"),
        (f"{HEADER}\n{GOOD.replace('cpu', 'tpu')}", "kind"),
        (f"{HEADER}\n{GOOD.replace(',40,', ',9,')}", "0 <= idle_power_w < max_power_w"),
        (f"{HEADER}\n{GOOD.replace(',40,', ',nan,')}", "0 <= idle_power_w < max_power_w"),
        (f"{HEADER}\n{GOOD.replace(',40,', ',many,')}", "max_power_w"),
        (f"{HEADER}\n{GOOD.replace('https://example.org', '')}", "a date and a source"),
    ],
)
def test_a_table_that_breaks_the_rules_is_refused_by_name(table: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "devices.csv"
    path.write_text(table + "\n")
    with pytest.raises(ValueError, match=re.escape(complaint)):
        devices.read(path)
