"""Reports of a bench written by hand, one a case: what a reader may meet. The figures are made up."""

import math
from collections.abc import Mapping
from dataclasses import replace

from costopt.benching.measurements import (
    Batching,
    BenchReport,
    BenchRow,
    BenchRun,
    Comparison,
    Contender,
    Energy,
    Feed,
    Opened,
    Outliers,
    Placement,
    Rate,
    ServerAnswer,
    Try,
    Whole,
)
from costopt.records import Machine, Setting, Spec, Value
from costopt.timings import WarmUp
from costopt.verdict import Interval, Latency, Percentile

CPU = Spec("cpu")
OPENVINO = Spec("openvino")
OPENVINO_F32 = Spec("openvino", {"inference_precision": "f32"})

NEEDS = {"p50": 11, "p90": 64, "p95": 130, "p99": 662}


def contender(
    model: str, provider: Spec = CPU, batch: int = 1, threads: int = 2, session: Mapping[str, Value] | None = None
) -> Contender:
    size_bytes = 330_000 if model == "int8.onnx" else 1_260_000
    return Contender(model, f"/models/{model}", "ab" * 32, size_bytes, Setting(provider, batch, threads, session or {}))


FLOAT = contender("model.onnx")
INT8 = contender("int8.onnx")
BRAIN = contender("model.onnx", OPENVINO)
EXACT = contender("model.onnx", OPENVINO_F32, batch=8)


def opened(provider: str = "CPU", seconds: Mapping[str, float] | None = None, precision: str = "float32") -> Opened:
    names = seconds or {provider: 0.2}
    return Opened(
        load_s=0.031,
        first_call_s=0.0042,
        peak_memory_bytes=14_200_000,
        placement=Placement(
            nodes={f"{name}ExecutionProvider": 9 for name in names},
            seconds={f"{name}ExecutionProvider": second for name, second in names.items()},
            fallen_back=("Conv /layer1/conv (CPUExecutionProvider, 5 % of the time)", "and 2 more")
            if len(names) > 1
            else (),
        ),
        precision=precision,
    )


def latency(p50_ms: float, samples: int = 5312) -> Latency:
    def one(name: str, share: float, factor: float) -> Percentile:
        enough = samples >= NEEDS[name]
        seen_ms = p50_ms * factor
        return Percentile(share, seen_ms if enough else None, 1.02 * seen_ms if enough else None, NEEDS[name])

    return Latency(one("p50", 0.5, 1.0), one("p95", 0.95, 1.06), one("p99", 0.99, 1.2), samples, one("p90", 0.9, 1.03))


def compared(
    value: float, half: float = 0.009, stopped: str = "precision", seconds_to_tell: float | None = None
) -> Comparison:
    ratio = Interval(value, value * (1 - half), value * (1 + half))
    told = not ratio.low <= 1 <= ratio.high
    return Comparison(ratio, told, 96, stopped, seconds_to_tell)


ITSELF = Comparison(Interval(1.0, 1.0, 1.0), False, 96, "precision")


def run(scenario: Spec, *contenders: Contender, feed: Feed | None = None) -> BenchRun:
    return BenchRun(
        id="bench-1a2b3c4d",
        scenario=scenario,
        contenders=contenders,
        feed=feed or Feed("1,000 inputs of evaluation.npz", random=False),
        machine=Machine("Example CPU at 2.0 GHz", 2, 8 * 10**9, "Linux 6.1 x86_64", ("avx2",)),
        versions={"onnxruntime": "1.31.1", "python": "3.11.9"},
        precision=0.02,
        confidence=0.95,
        seed=0,
        pinned=False,
        created="2026-11-22T10:00:00+00:00",
    )


def report(scenario: Spec, rows: tuple[BenchRow, ...], headline: str, feed: Feed | None = None) -> BenchReport:
    return BenchReport(run(scenario, *(row.contender for row in rows), feed=feed), rows, headline, holds=None)


def row(
    one: Contender, p50_ms: float, comparison: Comparison, *, samples: int = 5312, seen: Opened | None = None
) -> BenchRow:
    return BenchRow(
        one,
        "measured",
        latency=latency(p50_ms, samples),
        comparison=comparison,
        outliers=Outliers(0, samples, p50_ms * 1.5),
        opened=seen or opened(),
        warm_up=WarmUp(180, 0.4, settled=True),
    )


# ---------------------------------------------------------------------------------------- streams


def single_stream() -> BenchReport:
    """A told one, one that can't be told yet, one in another precision, and a call that takes eight samples."""
    slow_calls = replace(row(INT8, 0.297, compared(1.98)), outliers=Outliers(12, 5312, 41.3))
    rows = (
        row(FLOAT, 0.588, ITSELF),
        slow_calls,
        row(BRAIN, 0.583, compared(1.004, seconds_to_tell=214.0), seen=opened("OpenVINO", precision="bfloat16")),
        row(EXACT, 5.31, compared(0.886), seen=opened("OpenVINO")),
    )
    headline = "int8.onnx on cpu, batch 1, 2 threads is 1.98x [1.96x, 2.00x] as fast as model.onnx on cpu"
    return report(Spec("single_stream"), rows, headline)


def multi_stream() -> BenchReport:
    rows = (row(FLOAT, 4.61, ITSELF, samples=400), row(INT8, 2.31, compared(2.0), samples=400))
    return report(Spec("multi_stream"), rows, "int8.onnx on cpu, batch 1 is 2.00x [1.98x, 2.02x] as fast as model.onnx")


def faults() -> BenchReport:
    """Invalid, failed, partly fallen back, never warm, stopped by the clock, and widened by others' load."""
    wide = compared(1.41, half=0.031, stopped="time")
    disturbed = replace(wide, wide_because=("programs of others took 14 % of the CPU time; close them",))
    mixed = row(BRAIN, 0.417, disturbed, samples=120, seen=opened(seconds={"OpenVINO": 0.93, "CPU": 0.07}))
    rows = (
        row(FLOAT, 0.588, ITSELF),
        replace(mixed, warm_up=WarmUp(1200, 5.0, settled=False), notes=("engine built in 4.2 s",)),
        BenchRow(
            contender("model.onnx", Spec("webgpu")),
            "invalid",
            "webgpu did 12 % of the work by time: Softmax /out (CPUExecutionProvider, 80 % of the time)",
            fix="choose a provider that takes these nodes, or cpu",
        ),
        BenchRow(
            contender("int8.onnx", OPENVINO), "failed", "int8.onnx does not load: QLinearConv not supported", "bench"
        ),
    )
    made = report(Spec("single_stream"), rows, "model.onnx on openvino, batch 1 is 1.41x [1.37x, 1.45x] as fast")
    return replace(made, notes=("rocm can't work here: no onnxruntime-rocm",))


def unfinished() -> BenchReport:
    """Random inputs, few calls, one round only, and a contender that is still to come."""
    once = Comparison(Interval(1.93, 0.0, math.inf), False, 1, "time")
    rows = (
        row(FLOAT, 0.588, ITSELF, samples=40),
        row(INT8, 0.305, once, samples=40),
        BenchRow(BRAIN, "not yet", "not measured yet; the same command goes on"),
    )
    feed = Feed("64 random inputs", random=True)
    made = report(Spec("single_stream"), rows, "int8.onnx on cpu, batch 1 can't be told from model.onnx on cpu", feed)
    return replace(made, finished=False)


def energy() -> BenchReport:
    """Measured and modelled joules stand apart; contenders differ in threads and in session options."""
    source = "package counter (RAPL) over 42 s, idle 3.1 W subtracted"
    lean = contender("model.onnx", threads=1, session={"intra_op_spinning": False})
    modelled = Energy(0.0121, "modelled", "Example CPU in devices.csv, 2.1 to 4.2 W a thread")
    rows = (
        replace(row(FLOAT, 0.588, ITSELF), energy=Energy(0.0132, "measured", source)),
        replace(row(lean, 0.957, compared(0.614)), energy=modelled),
    )
    return report(Spec("single_stream"), rows, "model.onnx on cpu, batch 1, 2 threads is the fastest per inference")


# ---------------------------------------------------------------------------------------- offline


def tried(instances: int, threads: int, batch: int, mean: float, half: float = 0.02) -> tuple[Try, Interval]:
    windows = (mean * (1 - half), mean, mean * (1 + half))
    return Try(instances, threads, batch, windows), Interval(mean, mean * (1 - half), mean * (1 + half))


def whole(*tries: tuple[Try, Interval], best: int) -> Whole:
    return Whole(*tries[best], tries)


def offline() -> BenchReport:
    float_ways = (tried(1, 2, 1, 1700), tried(2, 1, 1, 1890), tried(2, 1, 8, 2210), tried(1, 2, 8, 2150))
    int8_ways = (tried(1, 2, 1, 2840), tried(2, 1, 8, 4460))
    rows = (
        BenchRow(FLOAT, "measured", whole=whole(*float_ways, best=2), opened=opened()),
        BenchRow(INT8, "measured", whole=whole(*int8_ways, best=1), opened=opened()),
        BenchRow(BRAIN, "failed", "the child was killed: out of memory", "bench"),
    )
    headline = "int8.onnx on cpu serves 4,460 samples/s [4,371, 4,549] on the whole machine"
    return report(Spec("offline", {"max_batch": 8}), rows, headline)


# ---------------------------------------------------------------------------------------- server


def rate(per_s: float, p99_ms: float, late: float, holds: bool | None, requests: int = 4000) -> Rate:
    """A made-up rate at which a share `late` of the requests was late, with batches of up to eight."""
    served = per_s if late < 0.25 else 480.0
    return Rate(
        rate_per_s=per_s,
        batching=Batching(8, 2.0),
        p50_ms=p99_ms / 3,
        p99_ms=p99_ms,
        p99_upper_ms=None if requests < 662 else p99_ms * 1.07,
        late_share=Interval(late, late * 0.6, min(1.0, late * 1.5 + 0.001)),
        holds=holds,
        throughput_per_s=served,
        goodput_per_s=served * (1 - late),
        utilisation=min(1.0, per_s / 480),
        requests=requests,
    )


def server_max() -> BenchReport:
    """A search for the highest rate, two contenders."""
    held, failed = rate(412, 18.2, 0.004, True), rate(430, 24.1, 0.021, False)
    slow_held, slow_failed = rate(198, 18.9, 0.006, True), rate(204, 31.0, 0.04, False)
    answers = (
        ServerAnswer(20.0, (rate(200, 21.0, 0.012, None), slow_held, slow_failed), slow_held, slow_failed),
        ServerAnswer(20.0, (rate(800, 412.0, 0.83, False), rate(400, 17.0, 0.002, True), held, failed), held, failed),
    )
    rows = tuple(
        BenchRow(one, "measured", server=answer, opened=opened())
        for one, answer in zip((FLOAT, INT8), answers, strict=True)
    )
    headline = "int8.onnx on cpu holds 412 requests/s with p99 within 20 ms, and does not hold 430"
    return replace(report(Spec("server", {"p99_ms": 20.0}), rows, headline), holds=True)


def server_undecided() -> BenchReport:
    """One rate was asked for: one holds it, one does not, one had too few requests."""
    rates = (rate(200, 18.0, 0.002, True), rate(200, 41.0, 0.09, False), rate(200, 19.0, 0.01, None, requests=300))
    rows = tuple(
        BenchRow(
            one,
            "measured",
            server=ServerAnswer(
                20.0, (found,), found if found.holds else None, found if found.holds is False else None
            ),
            opened=opened(),
        )
        for one, found in zip((INT8, FLOAT, contender("pruned.onnx")), rates, strict=True)
    )
    headline = "int8.onnx on cpu holds 200 requests/s with p99 within 20 ms; model.onnx on cpu does not hold 200"
    return replace(report(Spec("server", {"p99_ms": 20.0, "rate": 200.0}), rows, headline), holds=False)


BENCH_CASES = {
    "bench_single_stream": single_stream,
    "bench_multi_stream": multi_stream,
    "bench_faults": faults,
    "bench_unfinished": unfinished,
    "bench_energy": energy,
    "bench_offline": offline,
    "bench_server_max": server_max,
    "bench_server_undecided": server_undecided,
}
