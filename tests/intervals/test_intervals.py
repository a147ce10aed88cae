"""The validation of intervals by its own means: a few repeats, and what it must not let pass."""

import math

import cases
import numpy as np
import pytest
import simulate as sim
import validate
from cases import CASES, GOAL, Case, Known, Measured
from validate import BEGIN, END

SLOW = ("sampled", "42 ions", "60 ions", "0.2, 24", "ratio 2", "walks at 4", "two classes")
QUICK = [case for case in CASES if not any(word in case.name for word in SLOW)]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: f"{case.observable}: {case.name}")
def test_twenty_repeats_do_not_contradict_the_bounds(case):
    repeats = 8 if case.observable in {"tracer D", "conductivity"} else 20
    for line in validate.measure(case, repeats):
        assert line.possible(), line.row()


def gaussian(factor, bias=0.0):
    """Intervals of a number with a standard error of 1 whose width is off by a factor."""

    def run(rng):
        mean, half = 10.0 + bias + rng.normal(), 1.96 * factor
        return {"number": Measured(mean, (mean - half, mean + half), 10.0)}

    return run


@pytest.mark.parametrize(
    ("run", "met"),
    [
        (gaussian(1.0), True),
        (gaussian(0.6), False),
        (gaussian(2.0), False),
        (gaussian(1.0, bias=2.0), False),
    ],
    ids=["right", "narrow", "wide", "biased"],
)
def test_wrong_intervals_are_outside(run, met):
    (line,) = validate.measure(Case("a", "b", run), 200)
    assert line.met is met
    assert ("OUTSIDE" in line.row()[-1]) is not met


def test_a_known_deviation_must_stay_what_it_is():
    known = {"number": Known(0.6, 0.85, "half as wide")}
    (line,) = validate.measure(Case("a", "b", gaussian(0.6), known), 200)
    assert line.met
    assert line.row()[-1] == "known: half as wide"
    (mended,) = validate.measure(Case("a", "b", gaussian(1.0), known), 200)
    assert not mended.met
    assert "NOT AS KNOWN" in mended.row()[-1]


def test_columns():
    (line,) = validate.measure(Case("a", "b", gaussian(1.0, bias=0.5)), 4000)
    assert line.width == pytest.approx(2 * 1.96 / 10, rel=1e-9)
    assert line.stated == pytest.approx(1.0, abs=0.05)
    assert line.bias == pytest.approx(0.05, abs=0.01)
    assert line.share == pytest.approx(0.921, abs=0.02)


def test_numbers_without_an_interval_are_counted_apart():
    def run(rng):
        found = gaussian(1.0)(rng)["number"]
        return {"number": found if rng.random() < 0.5 else Measured(3.0, None, 10.0)}

    (line,) = validate.measure(Case("a", "b", run), 200)
    assert 70 < line.given < 130
    assert line.share > GOAL[0]
    (none,) = validate.measure(Case("a", "b", lambda rng: {"n": Measured(None, None, 1.0)}), 5)
    assert (none.given, none.met, none.possible()) == (0, False, False)
    assert math.isnan(none.share)


def test_a_case_has_the_same_seeds_whatever_else_is_run():
    first, second = (validate.measure(QUICK[-1], 3) for _ in range(2))
    assert first == second
    one, other = (validate.generator(name, 0).random() for name in ("a", "b"))
    assert one != other


def test_page_is_written_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    validate.write(page, "| new |")
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(SystemExit, match="put them where the table goes"):
        validate.write(page, "| new |")


def test_the_page_has_every_case():
    text = validate.PAGE.read_text(encoding="utf-8")
    assert BEGIN in text
    assert not [case.name for case in CASES if f"| {case.name} |" not in text]
    assert len({(case.observable, case.name) for case in CASES}) == len(CASES)
    assert "OUTSIDE" not in text
    assert "NOT AS KNOWN" not in text


# --- the closed forms of the runs ----------------------------------------------------------------


@pytest.mark.parametrize("memory", [-0.5, 0.0, 0.82])
def test_walks_have_the_coefficient_that_is_asked_for(memory):
    ions = sim.walk(np.random.default_rng(1), 0.05, 0.5, 3000, 300, memory=memory, cage=0.0)
    lag = 200
    slope = np.square(ions[lag::lag] - ions[:-lag:lag]).sum(axis=2).mean() / (lag * 0.5)
    tail = 2.0 * memory / (1.0 - memory**2) / lag  # what the correlation takes off the MSD
    assert slope / 6 == pytest.approx(0.05 * (1.0 - tail), rel=0.03)


@pytest.mark.parametrize("haven", [0.2, 1.0, 2.0])
def test_walkers_have_the_haven_ratio_that_is_asked_for(haven):
    ions = sim.together(np.random.default_rng(2), 0.05, 0.5, 20000, 6, haven)
    steps = np.diff(ions, axis=0)
    assert steps.var() / (steps.sum(axis=1).var() / 6) == pytest.approx(haven, rel=0.03)


def test_non_gaussian_parameter_of_hops():
    ions = sim.hopping(np.random.default_rng(3), 0.05, 3.5, 4000, 200, cage=0.4)
    squares = np.square(ions[20::20] - ions[:-20:20]).sum(axis=2)
    found = 0.6 * np.square(squares).mean() / squares.mean() ** 2 - 1.0
    assert found == pytest.approx(sim.alpha2_of_hopping(20, 0.05, 3.5, 0.4), abs=0.03)
    assert cases.sim.peak_of_hopping(0.01, 3.5, 0.4) > found
