"""Reports written by hand, one a case: what a reader may meet."""

from dataclasses import replace

from costopt.judging.bought import bought
from costopt.records import Candidate, Graph, InputSpec, Machine, Parity, Run, Spec
from costopt.verdict import Drop, Interval, Latency, Percentile, Quote, Refusal, Report, Row, Usd

ORIGINAL = Candidate((), "cpu", 1, 2)
STATIC = Candidate((Spec("int8_static"),), "cpu", 1, 2)
PERCENTILE = Candidate((Spec("slim"), Spec("int8_static", {"calibration": "percentile"})), "cpu", 1, 2)
DYNAMIC = Candidate((Spec("int8_dynamic"),), "cpu", 1, 2)
FAST = Candidate((Spec("int8_static"),), "openvino", 8, 2)
HALF = Candidate((Spec("fp16"),), "cpu", 1, 2)


def run(*candidates: Candidate, metric: str = "top1", labelled: bool = True) -> Run:
    return Run(
        id="cnn-1a2b3c4d",
        model="cnn.pt2",
        format="pt2",
        baseline=ORIGINAL.id,
        metric=Spec(metric),
        against="target" if labelled else "original",
        machine=Machine("Example CPU at 2.0 GHz", 2, 8 * 10**9, "Linux 6.1 x86_64", ("avx2",)),
        graph=Graph(
            inputs=(InputSpec("x", ("batch", 1, 28, 28), "float32"),),
            outputs=(InputSpec("logits", ("batch", 10), "float32"),),
            operators={"Conv": 8, "Gemm": 1},
            parameters_by_operator={"Conv": 300_000, "Gemm": 8_000},
            opset=20,
            size_bytes=1_260_000,
        ),
        parity=Parity(2e-6, 3e-7, 64),
        versions={"onnxruntime": "1.31.1", "python": "3.11.9"},
        inputs={"model_sha256": "ab" * 32, "evaluation_sha256": "cd" * 32},
        seed=0,
        created="2026-11-22T10:00:00+00:00",
        candidates=candidates,
    )


def latency(p50_ms: float, samples: int = 800) -> Latency:
    def one(percentile: float, needs: int, factor: float) -> Percentile:
        enough = samples >= needs
        return Percentile(
            percentile, p50_ms * factor if enough else None, p50_ms * factor * 1.02 if enough else None, needs
        )

    return Latency(one(0.5, 11, 1.0), one(0.95, 130, 1.06), one(0.99, 662, 1.2), samples)


def row(
    candidate: Candidate,
    ratio: float,
    *,
    drop: float = 0.0,
    megabytes: float = 1.26,
    usd_per_million: float | None = 0.0292,
    metric: str = "top1",
    reference: float = 0.924,
    samples: int = 800,
    meets: bool = True,
    refusals: tuple[Refusal, ...] = (),
    lost: str | None = None,
) -> Row:
    """A measured candidate that is `ratio` times as fast as an original of 0.588 ms."""
    wide = 0.0 if candidate == ORIGINAL else 0.0013
    return Row(
        candidate,
        "measured",
        latency=latency(0.588 / ratio * candidate.batch, samples),
        throughput_per_s=1000 / 0.588 * ratio,
        speedup=Interval(ratio, ratio * 0.96, ratio * 1.05),
        drop=Drop(metric, "target", reference - drop, Interval(drop, drop - wide, drop + wide), 4000, True),
        size_bytes=round(megabytes * 1e6),
        peak_memory_bytes=14_200_000,
        load_s=0.031,
        usd=Usd(
            Interval(1 / ratio, 1 / ratio / 1.05, 1 / ratio / 0.96),
            None if usd_per_million is None else usd_per_million / ratio,
        ),
        placement={candidate.provider: 1.0},
        meets=meets,
        refusals=refusals,
        lost=lost,
    )


QUOTE = Quote(0.0893, "aws/c7i.large", "AWS price list (on demand, us-east-1)", "2026-07-20")


def met() -> Report:
    rows = (
        row(ORIGINAL, 1.0, lost="costs 1.67x the winner"),
        row(STATIC, 1.67, drop=-0.0003, megabytes=0.33),
        row(PERCENTILE, 1.66, drop=0.0002, megabytes=0.33, lost="indistinguishable from the winner, which is simpler"),
        row(
            FAST,
            1.41,
            drop=0.0116,
            megabytes=0.33,
            meets=False,
            refusals=(Refusal("accuracy_drop", 0.0116, 0.01, False, "accuracy falls by 1.16 points, over 1.00"),),
            lost="accuracy falls by 1.16 points, over 1.00",
        ),
    )
    return Report(
        run=run(*(one.candidate for one in rows)),
        verdict="met",
        winner=STATIC.id,
        keep_original=False,
        rows=rows,
        quote=QUOTE,
        confidence=0.95,
        headline="int8_static on cpu costs $0.0175 per million, 1.67x less than the original; accuracy +0.03 points "
        "[-0.10, +0.16], certified",
        notes=("price of aws/c7i.large is of 2026-07-20, 125 days old",),
    )


def keep_original() -> Report:
    rows = (row(ORIGINAL, 1.0), row(DYNAMIC, 0.83, lost="0.83x: slower than the original"))
    return Report(
        run=run(*(one.candidate for one in rows)),
        verdict="met",
        winner=ORIGINAL.id,
        keep_original=True,
        rows=rows,
        quote=QUOTE,
        confidence=0.95,
        headline="Leave it alone: the original on cpu is the cheapest that meets the budget, $0.0292 per million",
    )


def nothing_meets() -> Report:
    slow = Refusal("p95_ms", 0.373, 0.3, False, "p95 0.381 ms is over 0.3 ms by 27 %")
    unsure = Refusal("accuracy_drop", 0.0003, 0.001, True, "accuracy undecided: needs about 9,400 samples, has 4,000")
    slower = Refusal("p95_ms", 0.623, 0.3, False, "p95 0.636 ms is over 0.3 ms by 112 %")
    rows = (
        row(ORIGINAL, 1.0, meets=False, refusals=(slower,), lost=slower.words),
        row(STATIC, 1.67, meets=False, refusals=(slow,), lost=slow.words),
        row(DYNAMIC, 2.1, drop=0.0003, meets=False, refusals=(unsure,), lost=unsure.words),
    )
    return Report(
        run=run(*(one.candidate for one in rows)),
        verdict="not_met",
        winner=None,
        keep_original=False,
        rows=rows,
        quote=QUOTE,
        confidence=0.95,
        headline="Nothing meets the budget: the nearest, int8_dynamic on cpu, has too few samples to certify accuracy",
        nearest=(DYNAMIC.id, STATIC.id, ORIGINAL.id),
    )


def faults() -> Report:
    rows = (
        row(ORIGINAL, 1.0, lost="costs 1.67x the winner"),
        row(STATIC, 1.67),
        Row(
            DYNAMIC,
            "failed",
            reason="shape inference: conv_1 has no shape",
            stage="compress",
            lost="failed at compress: shape inference: conv_1 has no shape",
        ),
        Row(
            FAST,
            "invalid",
            reason="openvino took none of the nodes",
            fix="install a plug-in that takes this CPU: pip install 'costopt[openvino]'",
        ),
        Row(HALF, "skipped", reason="every weight is float16 already"),
    )
    return replace(met(), run=run(*(one.candidate for one in rows)), rows=rows, notes=())


def no_price() -> Report:
    rows = (
        row(ORIGINAL, 1.0, usd_per_million=None, samples=40, lost="costs 1.67x the winner"),
        row(STATIC, 1.67, usd_per_million=None, samples=40),
    )
    return replace(
        met(),
        run=run(*(one.candidate for one in rows)),
        rows=rows,
        quote=None,
        notes=("no price is known, so costs are relative to the original; add `machine: {instance: aws/c7i.large}`",),
        headline="int8_static on cpu takes 1/1.67 of the original's compute, so costs 1.67x less",
    )


def agreement() -> Report:
    rows = (
        row(ORIGINAL, 1.0, metric="agreement", reference=1.0, lost="costs 2.10x the winner"),
        row(DYNAMIC, 2.1, metric="agreement", reference=1.0, drop=0.008),
    )
    return replace(
        met(),
        run=run(*(one.candidate for one in rows), metric="agreement", labelled=False),
        rows=rows,
        winner=DYNAMIC.id,
        headline="int8_dynamic on cpu costs $0.0139 per million, 2.10x less than the original; agrees with the "
        "original on 99.20 % of samples",
        notes=("there are no labels, so accuracy is agreement with the original",),
    )


def unfinished() -> Report:
    rows = (
        row(ORIGINAL, 1.0, lost="costs 1.67x the winner"),
        row(STATIC, 1.67),
        Row(DYNAMIC, "skipped", reason="not measured yet"),
    )
    return replace(
        met(),
        run=run(*(one.candidate for one in rows)),
        rows=rows,
        finished=False,
        notes=("the run is not finished: 1 of 3 candidates is still to be measured",),
    )


CUT = Spec("prune_channels", {"macs": 0.5})
LEARNT = Spec("distill", {"seconds": 60.0})


def searched() -> Report:
    """A search: a cut that learning mended, and its steps told apart."""
    steps = [Candidate(recipe, "cpu", 1, 2) for recipe in ((CUT,), (CUT, LEARNT), (CUT, LEARNT, Spec("int8_static")))]
    rows = (
        row(ORIGINAL, 1.0, lost="costs 3.10x the winner"),
        row(STATIC, 1.67, megabytes=0.33, lost="costs 1.86x the winner"),
        row(steps[2], 3.1, drop=0.0031, megabytes=0.17),
        row(steps[0], 1.86, drop=0.412, megabytes=0.63, meets=False, lost="accuracy -41.20 points, limit -1.00 points"),
        row(steps[1], 1.87, drop=0.0029, megabytes=0.63, lost="costs 1.66x the winner"),
    )
    told = run(*(one.candidate for one in rows))
    reasons = (
        (STATIC, "it needs no learning"),
        (steps[2], "prune_channels takes 50 % of the work away, and learning mends it"),
        (steps[0], "to tell what step 2 of the best bought"),
        (steps[1], "to tell what step 3 of the best bought"),
    )
    ended = "the search tried all that it knows to be worth its time"
    return replace(
        met(),
        run=replace(told, reasons={one.id: why for one, why in reasons}, ended=ended),
        rows=rows,
        winner=steps[2].id,
        bought=bought(rows[2], rows),
        headline="the chosen one costs 3.10x less than the original",
    )


CASES = {
    "met": met,
    "keep_original": keep_original,
    "nothing_meets": nothing_meets,
    "faults": faults,
    "no_price": no_price,
    "agreement": agreement,
    "unfinished": unfinished,
    "searched": searched,
}
