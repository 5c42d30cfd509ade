"""Joules per inference from counters whose true power is known because it is made up, and from the device table."""

import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costopt.measuring import energy
from costopt.measuring.devices import Device
from costopt.measuring.energy import Meter, Metered, Rapl, Step, Unmetered, Window

pytestmark = pytest.mark.alone


@dataclasses.dataclass
class World:
    """A machine with a clock of its own, and a counter that moves every `period_s` in multiples of `quantum_j`."""

    idle_w: float
    serving_w: float
    period_s: float = 1e-3
    quantum_j: float = 6.1e-5
    call_s: float = 0.002
    source: str = "a made-up counter"
    now: float = 0.37
    used: float = 0.0
    shown: float = 0.0

    def clock(self) -> float:
        return self.now

    def joules(self) -> float:
        return self.shown

    def sleep(self, seconds: float) -> None:
        self._pass(seconds, self.idle_w)

    def serve(self, seconds: float) -> int:
        calls = math.ceil(seconds / self.call_s)
        self._pass(calls * self.call_s, self.serving_w)
        return calls

    def _pass(self, seconds: float, power_w: float) -> None:
        """Time goes by; the counter shows what was used up to its last update."""
        since_update = (self.now + seconds) % self.period_s
        if seconds >= since_update:
            used_then = self.used + power_w * (seconds - since_update)
            self.shown = used_then // self.quantum_j * self.quantum_j
        self.now += seconds
        self.used += power_w * seconds

    def measure(self) -> Metered | Unmetered:
        return Meter(self, self.clock, self.sleep).measure(self.serve)


def measured(world: World) -> Metered:
    found = world.measure()
    assert isinstance(found, Metered), found
    return found


def refused(world: World) -> Unmetered:
    found = world.measure()
    assert isinstance(found, Unmetered), found
    return found


@settings(max_examples=40, deadline=None)
@given(
    idle_w=st.floats(2, 200),
    more_w=st.floats(0.5, 5),
    period_s=st.sampled_from([1e-3, 0.02, 0.1, 0.25]),
    quantum_j=st.sampled_from([6.1e-5, 1e-3, 0.5]),
)
def test_the_true_energy_is_found_within_what_the_steps_allow(
    idle_w: float, more_w: float, period_s: float, quantum_j: float
) -> None:
    world = World(idle_w, idle_w * (1 + more_w), period_s, quantum_j)
    found = measured(world)
    truth = idle_w * more_w * world.call_s
    # Each power is off by at most 1 % (and the step, a median, by a little); the idle one is subtracted.
    allowed = 1.1 * energy.STEP_SHARE * (world.serving_w + world.idle_w) * world.call_s
    assert found.energy.joules_per_inference == pytest.approx(truth, abs=allowed)
    assert found.energy.label == "measured"


@pytest.mark.parametrize(
    ("period_s", "quantum_j", "least_s"),
    [(1e-3, 6.1e-5, energy.LEAST_WINDOW_S), (0.1, 1e-3, 9.9), (1e-3, 5.0, 49.0)],
)
def test_windows_are_stretched_until_a_step_is_a_hundredth_of_the_reading(
    period_s: float, quantum_j: float, least_s: float
) -> None:
    found = measured(World(10, 14, period_s, quantum_j))
    for window in (found.idle, found.serving):
        assert window.seconds >= least_s
        assert max(period_s * window.power_w, quantum_j) <= energy.STEP_SHARE * window.joules * 1.01


class Settles(World):
    """A machine that draws five times as much while the counter is watched as it does later."""

    def _pass(self, seconds: float, power_w: float) -> None:
        super()._pass(seconds, power_w * (5 if seconds <= energy.POLL_S else 1))


def test_a_window_whose_power_is_less_than_it_was_is_stretched_again() -> None:
    found = measured(Settles(10, 14, quantum_j=4.0))  # 4 J every 0.08 s at first: 8 s windows; at 10 W, 40 s
    assert found.idle.seconds >= 39
    assert found.idle.power_w == pytest.approx(10, rel=0.02)


@given(
    joules=st.floats(1e-6, 1e6),
    seconds=st.floats(1e-3, 1e3),
    step=st.builds(Step, st.floats(1e-6, 10), st.floats(1e-4, 1)),
)
def test_a_stretched_window_needs_no_more_stretching_at_the_same_power(
    joules: float, seconds: float, step: Step
) -> None:
    wanted = energy.stretch(step, Window(joules, seconds))
    again = energy.stretch(step, Window(joules / seconds * wanted, wanted))
    assert again == pytest.approx(wanted)
    assert step.joules <= energy.STEP_SHARE * joules / seconds * wanted * (1 + 1e-9)


def test_the_report_shows_the_idle_power_that_was_subtracted() -> None:
    words = measured(World(12, 30)).energy.source
    assert words == "a made-up counter: 30.0 W while serving, less 12.0 W idle; 500 inferences in 1.0 s"


def test_serving_that_takes_no_more_than_idling_is_refused() -> None:
    found = refused(World(12, 12.1))
    assert "12.1 W while serving, 12 W idle: what serving takes can't be told from idling" in found.reason
    assert "nothing else runs" in found.fix


def test_a_counter_that_stands_still_is_refused() -> None:
    assert "stands still" in refused(World(12, 30, quantum_j=1e9)).reason


def test_a_counter_that_needs_too_long_windows_is_refused() -> None:
    assert "steps need windows of 100 s" in refused(World(12, 30, period_s=1.0)).reason


class Backwards(World):
    """A counter that wrapped round."""

    def joules(self) -> float:
        return -self.shown


class Stops(World):
    """A counter that is read while idle and stops when the machine serves."""

    def serve(self, seconds: float) -> int:
        shown = self.shown
        calls = super().serve(seconds)
        self.shown = shown
        return calls


class Idles(World):
    """A service that answers nothing."""

    def serve(self, seconds: float) -> int:
        super().serve(seconds)
        return 0


@pytest.mark.parametrize(
    ("world", "complaint"),
    [(Backwards, "went backwards"), (Stops, "it counted 0 J"), (Idles, "no inference was finished")],
)
def test_readings_that_cannot_be_are_refused(world: type[World], complaint: str) -> None:
    found = refused(world(12, 30))
    assert complaint in found.reason
    assert found.fix


# ---------------------------------------------------------------------------------------- RAPL


def zone(folder: Path, name: str, microjoules: int | None = 0) -> Path:
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    if microjoules is not None:
        (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    zone(tmp_path / "intel-rapl:0", "psys")  # the whole platform: no package
    for root in (tmp_path, tmp_path / "nothing"):
        found = energy.rapl(root)
        assert isinstance(found, Unmetered)
        assert f"{root} holds no CPU package" in found.reason


def test_a_counter_that_cannot_be_read_comes_with_the_command_that_opens_it(tmp_path: Path) -> None:
    zone(tmp_path / "intel-rapl:0", "package-0", microjoules=None)
    found = energy.rapl(tmp_path)
    assert isinstance(found, Unmetered)
    assert found.fix == f"sudo chmod a+r {tmp_path}/intel-rapl:*/energy_uj"


def test_without_zeus_the_remedy_is_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path / "intel-rapl:0", "package-0")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = energy.rapl(tmp_path)
    assert isinstance(found, Unmetered)
    assert found.fix == "pip install 'costopt[energy]'"


def test_packages_are_summed_and_what_lies_inside_or_around_them_is_not(tmp_path: Path) -> None:
    pytest.importorskip("zeus", reason="zeus (the extra `energy`) reads the counters")
    first = zone(tmp_path / "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path / "intel-rapl:1", "package-1", 2_000_000)
    zone(first / "intel-rapl:0:0", "core", 500_000)
    zone(tmp_path / "intel-rapl:2", "psys", 9_000_000)
    counter = energy.rapl(tmp_path)
    assert isinstance(counter, Rapl)
    assert counter.source == "RAPL, 2 CPU packages"
    before = counter.joules()
    (second / "energy_uj").write_text("2500000\n")
    assert (before, counter.joules()) == (3.0, 3.5)


# ---------------------------------------------------------------------------------------- modelled

SOCKET = Device("A socket", "cpu", "x", "core", 50, 100.0, 350.0, "2026-08", "https://example.org", "")
THREAD = Device("A class", "cpu", "x", "thread", 1, 1.0, 4.0, "2026-03-09", "https://example.org", "", "the name 'x'")
BOARD = Device("A board", "gpu", "x", "device", 1, None, 700.0, "2026-08", "https://example.org", "")


def joules(device: Device, seconds: float, threads: int, load: float = 1.0) -> float:
    found = energy.modelled(device, seconds, threads, load)
    assert found is not None
    assert found.label == "modelled"
    return found.joules_per_inference


def test_each_kind_of_row_is_shared_out_as_its_unit_says() -> None:
    assert joules(SOCKET, 0.01, 2) == pytest.approx(350 * 2 / 50 * 0.01)
    assert joules(THREAD, 0.01, 2) == pytest.approx(4 * 2 * 0.01)
    assert joules(BOARD, 0.01, 2) == pytest.approx(700 * 0.01)


@given(st.floats(1e-6, 100), st.integers(1, 64), st.floats(0, 1))
def test_energy_grows_with_time_and_threads_and_load(seconds: float, threads: int, load: float) -> None:
    assert joules(THREAD, 2 * seconds, threads) == pytest.approx(2 * joules(THREAD, seconds, threads))
    assert joules(THREAD, seconds, 2 * threads) == pytest.approx(2 * joules(THREAD, seconds, threads))
    idle, partly, full = (joules(THREAD, seconds, threads, share) for share in (0.0, load, 1.0))
    assert partly == pytest.approx(idle + (full - idle) * load)


def test_without_a_published_idle_power_only_full_load_has_a_figure() -> None:
    assert energy.modelled(BOARD, 0.01, 1, load=0.5) is None


def test_the_source_names_the_row_how_it_was_found_and_where_it_comes_from() -> None:
    found = energy.modelled(THREAD, 0.01, 2)
    assert found is not None
    assert found.source == (
        "2 threads of A class (known by the name 'x'): 8.00 W at full load, PUE 1; https://example.org, 2026-03-09"
    )


def test_a_load_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"load is a share from 0 to 1, not 30"):
        energy.modelled(THREAD, 0.01, 2, load=30)
