"""What disturbs a measurement: read from made-up systems, whose counters are known, and judged by rules."""

import math
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.measuring import noise, noise_rules
from costopt.measuring.noise import CpuTicks, Reading, System, Watch, between
from costopt.measuring.noise_rules import far_from_neighbours, faults, together, widening
from costopt.timings import Noise

pytestmark = pytest.mark.alone

OURS = 100

# ---------------------------------------------------------------------------------------- a made-up system


class MadeUp:
    """A system whose files and clock the test writes: times in ticks of 10 ms, as /proc has them."""

    def __init__(self, folder: Path, cpus: int = 2, cores: int | None = None) -> None:
        self.proc, self.devices = folder / "proc", folder / "cpu"
        self.now_s = 0.0
        self.system = System(
            frozenset({OURS}), range(cpus), cores or cpus, self.proc, self.devices, clock=lambda: self.now_s
        )
        self.cpus((0, 0, 0) for _ in range(cpus))
        self.process(OURS, parent=1)

    def cpus(self, times: Iterable[tuple[int, int, int]]) -> None:
        """Busy, idle and stolen time of each CPU; half of what is busy is the kernel's."""
        rows = [
            f"cpu{number} {busy - busy // 2} 0 {busy // 2} {idle} 0 0 0 {stolen} 0 0"
            for number, (busy, idle, stolen) in enumerate(times)
        ]
        self.proc.mkdir(parents=True, exist_ok=True)
        (self.proc / "stat").write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *rows, "intr 7 0 1"]) + "\n")

    def process(self, pid: int, parent: int, own: int = 0, collected: int = 0, name: str = "python") -> None:
        """A process with its own CPU time, and that of its children that ended."""
        (self.proc / str(pid)).mkdir(exist_ok=True)
        zeros = " 0" * 9
        times = f"{own - own // 2} {own // 2} {collected} 0"
        (self.proc / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent}{zeros} {times} 20 0 1 0 77\n")

    def end(self, pid: int) -> None:
        (self.proc / str(pid) / "stat").unlink()

    def throttle(self, cpu: int, core: int, package: int) -> None:
        folder = self.devices / f"cpu{cpu}" / "thermal_throttle"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "core_throttle_count").write_text(f"{core}\n")
        (folder / "package_throttle_count").write_text(f"{package}\n")

    def govern(self, cpu: int, governor: str) -> None:
        folder = self.devices / f"cpu{cpu}" / "cpufreq"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUp:
    return MadeUp(tmp_path)


def test_other_load_is_what_the_cpus_did_beyond_our_own_processes(made_up: MadeUp) -> None:
    made_up.process(101, parent=OURS, own=500)
    watch = Watch(system=made_up.system)
    made_up.now_s = 10.0
    made_up.cpus([(900, 80, 20), (300, 700, 0)])
    made_up.process(OURS, parent=1, own=100)
    made_up.process(101, parent=OURS, own=1400)
    seen = watch.noise()
    assert seen.seconds == 10.0
    assert seen.cpus == 2
    assert seen.other_load == pytest.approx((1200 - 100 - 900) / 2000)
    assert seen.steal == pytest.approx(20 / 2000)


def test_a_child_that_ends_while_we_watch_still_counts_as_ours(made_up: MadeUp) -> None:
    made_up.process(101, parent=OURS, own=500, name="a (strange) name")
    made_up.process(102, parent=101, own=50)
    watch = Watch(system=made_up.system)
    made_up.now_s = 10.0
    made_up.cpus([(900, 100, 0), (0, 1000, 0)])
    made_up.end(101)
    made_up.end(102)
    made_up.process(OURS, parent=1, collected=500 + 50 + 700)
    made_up.process(103, parent=OURS, own=200)
    assert watch.noise().other_load == 0.0


def test_processes_that_are_not_below_us_count_as_ours_only_when_they_are_named(made_up: MadeUp) -> None:
    made_up.process(200, parent=1)
    ours, others = Watch([200], made_up.system), Watch(system=made_up.system)
    made_up.now_s = 10.0
    made_up.cpus([(600, 400, 0), (0, 1000, 0)])
    made_up.process(200, parent=1, own=600)
    assert ours.noise().other_load == 0.0
    assert others.noise().other_load == pytest.approx(0.3)


def test_only_the_cpus_that_we_may_use_are_watched(made_up: MadeUp) -> None:
    watch = Watch(system=replace(made_up.system, cpus=(1,), cores=1))
    made_up.now_s = 10.0
    made_up.cpus([(1000, 0, 0), (100, 900, 0)])
    assert watch.noise().other_load == pytest.approx(0.1)


def test_under_a_second_shares_cannot_be_told_and_events_can(made_up: MadeUp) -> None:
    (made_up.proc / "vmstat").write_text("pgpgin 9\npswpin 5\npswpout 7\n")
    watch = Watch(system=made_up.system)
    made_up.now_s = 0.99
    made_up.cpus([(99, 0, 0), (99, 0, 0)])
    (made_up.proc / "vmstat").write_text("pgpgin 99\npswpin 17\npswpout 70\n")
    seen = watch.noise()
    assert (seen.other_load, seen.steal, seen.swapped_pages) == (None, None, 12)


def test_counters_that_stand_still_are_not_read_as_quiet(made_up: MadeUp) -> None:
    watch = Watch(system=made_up.system)
    made_up.now_s = 10.0
    assert watch.noise().other_load is None
    assert watch.noise().steal is None


def test_in_a_container_others_disturb_only_with_what_finds_no_room_beside_its_quota(tmp_path: Path) -> None:
    made_up = MadeUp(tmp_path, cpus=8, cores=2)
    watch = Watch(system=made_up.system)
    made_up.now_s = 10.0
    made_up.cpus([(700, 300, 0)] * 8)
    assert watch.noise().other_load == 0.0
    made_up.cpus([(1000, 0, 0)] * 7 + [(0, 1000, 0)])
    assert watch.noise() == Noise(10.0, 2, other_load=0.5, steal=0.0)


def test_a_system_that_shows_nothing_leaves_every_figure_open(tmp_path: Path) -> None:
    nowhere = System(proc=tmp_path / "proc", devices=tmp_path / "cpu", cpus=(0,), cores=1, clock=lambda: 5.0)
    assert Watch(system=nowhere).noise() == Noise(0.0, 1)


def test_cpus_that_proc_does_not_list_leave_the_load_open(made_up: MadeUp) -> None:
    watch = Watch(system=replace(made_up.system, cpus=(0, 1, 2)))
    made_up.now_s = 10.0
    made_up.cpus([(0, 1000, 0), (0, 1000, 0)])
    assert watch.noise().other_load is None


def test_one_slow_down_of_a_package_counts_once_although_each_cpu_tells_it(made_up: MadeUp) -> None:
    for cpu in (0, 1):
        made_up.throttle(cpu, core=10 * cpu, package=3)
    watch = Watch(system=made_up.system)
    assert watch.noise().throttled == 0
    made_up.throttle(0, core=0, package=4)
    made_up.throttle(1, core=11, package=4)
    assert watch.noise().throttled == 2


def test_of_several_governors_the_one_that_scales_is_told(made_up: MadeUp) -> None:
    made_up.govern(0, "performance")
    made_up.govern(1, "performance")
    assert Watch(system=made_up.system).noise().governor == "performance"
    made_up.govern(1, "schedutil")
    assert Watch(system=made_up.system).noise().governor == "schedutil"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc")
def test_on_this_machine_the_time_of_a_child_that_ended_is_ours() -> None:
    before = System().read()
    work = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    after = System().read()
    assert before.own_ticks is not None
    assert after.own_ticks is not None
    assert after.own_ticks - before.own_ticks >= 25
    assert before.ticks is not None
    assert before.ticks.total > 0


counts = st.integers(0, 10**6)
ticks = st.builds(lambda busy, steal, rest: CpuTicks(busy, steal, busy + steal + rest), counts, counts, counts)
readings = st.builds(
    Reading,
    at_s=st.floats(0, 100),
    cpus=st.just(4),
    cores=st.integers(1, 4),
    ticks=st.none() | ticks,
    own_ticks=st.none() | counts,
    swapped_pages=st.none() | counts,
    throttled=st.lists(counts, max_size=4).map(tuple),
    governors=st.just(()),
)


@given(readings, readings)
def test_whatever_the_counters_do_shares_are_shares_and_counts_are_counts(before: Reading, after: Reading) -> None:
    seen = between(before, after)
    assert all(share is None or 0 <= share <= 1 for share in (seen.other_load, seen.steal))
    assert all(count is None or count >= 0 for count in (seen.swapped_pages, seen.throttled))


def test_lateness_is_counted_from_when_the_nap_should_have_ended() -> None:
    now = [0.0]
    late: Iterator[float] = iter([0.0, 2e-3, 5e-4, 0.0])

    def nap(seconds: float) -> None:
        now[0] += seconds + next(late)

    found = noise.lateness_s(5e-3, clock=lambda: now[0], sleep=nap)
    assert found == pytest.approx((0.0, 2e-3, 5e-4))


# ---------------------------------------------------------------------------------------- the rules

QUIET = Noise(30.0, 2, other_load=0.01, steal=0.01, swapped_pages=0, throttled=0, governor="performance")


@pytest.mark.parametrize(
    "seen",
    [
        QUIET,
        Noise(30.0, 2),
        replace(QUIET, other_load=0.05, steal=0.03),
        replace(QUIET, governor="userspace"),
        # One CPU, one second, an eighth of it to others: its hundred samples cannot tell that from nothing.
        Noise(1.0, 1, other_load=0.12),
    ],
)
def test_the_ordinary_hum_of_a_machine_is_no_fault(seen: Noise) -> None:
    assert faults(seen) == ()
    assert widening(faults(seen)) == 1.0


@pytest.mark.parametrize(
    ("seen", "invalid", "reason"),
    [
        (replace(QUIET, other_load=0.1), False, "other programs used 10 % of the CPU time"),
        (replace(QUIET, other_load=0.3), True, "other programs used 30 % of the CPU time"),
        (replace(QUIET, steal=0.05), False, "the hypervisor gave 5.0 % of the CPU time to other machines"),
        (replace(QUIET, steal=0.2), True, "the hypervisor gave 20 % of the CPU time to other machines"),
        (replace(QUIET, swapped_pages=7), False, "7 pages came back from swap"),
        (replace(QUIET, swapped_pages=9000), True, "9,000 pages came back from swap"),
        (replace(QUIET, throttled=1), True, "slowed itself down for its heat once"),
        (replace(QUIET, throttled=12), True, "12 times meanwhile: no absolute figure can be trusted"),
        (replace(QUIET, governor="powersave"), False, "the frequency governor 'powersave' scales"),
    ],
)
def test_a_little_noise_widens_and_a_lot_invalidates_each_with_its_fix(seen: Noise, invalid: bool, reason: str) -> None:
    (fault,) = faults(seen)
    assert reason in fault.reason
    assert fault.fix
    assert fault.invalid is invalid
    assert (fault.widen > 1.0) is not invalid


def test_a_governor_that_scales_comes_with_the_command_that_stops_it() -> None:
    (fault,) = faults(replace(QUIET, governor="ondemand"))
    assert fault.fix == "sudo cpupower frequency-set --governor performance"


def test_several_doubts_multiply() -> None:
    found = faults(replace(QUIET, other_load=0.1, governor="ondemand"))
    assert widening(found) == pytest.approx(noise_rules.DOUBT * noise_rules.GOVERNOR_DOUBT)


@given(st.floats(1, 1000), st.integers(1, 256), st.floats(0, 1), st.floats(0, 1))
def test_more_load_is_never_judged_better(seconds: float, cpus: int, load: float, more: float) -> None:
    less, most = sorted((load, more))
    for gentle, harsh in (
        (faults(Noise(seconds, cpus, other_load=less)), faults(Noise(seconds, cpus, other_load=most))),
        (faults(Noise(seconds, cpus, steal=less)), faults(Noise(seconds, cpus, steal=most))),
    ):
        assert len(gentle) <= len(harsh)
        assert [one.invalid for one in gentle] <= [one.invalid for one in harsh]


def test_stretches_together_are_weighed_by_their_time_and_what_is_not_known_has_no_weight() -> None:
    short = Noise(0.5, 2, swapped_pages=3, governor="performance")
    long = Noise(30.0, 2, other_load=0.1, steal=0.0, swapped_pages=4, throttled=1, governor="ondemand")
    quiet = Noise(10.0, 2, other_load=0.02, steal=0.04, swapped_pages=0, throttled=0, governor="ondemand")
    assert together([]) is None
    assert together([long]) == long
    whole = together([short, long, quiet])
    assert whole is not None
    assert whole.other_load == pytest.approx(0.08)
    assert whole.steal == pytest.approx(0.01)
    assert (whole.seconds, whole.swapped_pages, whole.throttled, whole.governor) == (40.5, 7, 1, "ondemand")


# ---------------------------------------------------------------------------------------- neighbours


def flagged(medians_s: Iterable[float]) -> list[bool]:
    return [fault is not None for fault in far_from_neighbours(tuple(medians_s))]


def test_a_baseline_that_ran_one_and_a_half_times_slower_once_is_far_from_its_neighbours() -> None:
    found = far_from_neighbours([0.010, 0.0101, 0.0150, 0.0099, 0.0102])
    assert [fault is not None for fault in found] == [False, False, True, False, False]
    assert found[2] is not None
    assert found[2].invalid
    assert "the baseline ran 1.49x slower beside it than beside the others" in found[2].reason
    assert found[2].fix == "measure again when nothing else runs"


def test_a_baseline_that_ran_much_faster_once_is_far_too() -> None:
    assert flagged([0.010, 0.0101, 0.006, 0.0099]) == [False, False, True, False]


def test_a_machine_whose_speed_wanders_has_no_far_neighbours() -> None:
    assert not any(flagged(0.010 * (1 + 0.08 * math.sin(step)) for step in range(12)))
    assert not any(flagged([0.010, 0.010, 0.010, 0.0115]))
    assert not any(flagged([0.010, 0.012, 0.014, 0.016, 0.018, 0.020]))


@pytest.mark.parametrize("medians_s", [[], [0.01], [0.01, 0.03]])
def test_of_two_nobody_can_say_which_is_far(medians_s: list[float]) -> None:
    assert not any(flagged(medians_s))


medians = st.lists(st.floats(1e-5, 1e2), min_size=3, max_size=20)


@given(medians)
def test_at_most_half_are_far_whatever_their_order(medians_s: list[float]) -> None:
    assert 2 * sum(flagged(medians_s)) <= len(medians_s)
    assert flagged(reversed(medians_s)) == flagged(medians_s)[::-1]
