"""The option models: what they accept, and what each refusal says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import model_validator

from lbpsi_driver import config
from lbpsi_driver.config import UsageError
from lbpsi_driver.training import options as training

MODELS = {
    "build": config.BuildOptions,
    "quench": config.QuenchOptions,
    "sweep": config.SweepOptions,
    "analyze": config.AnalyzeOptions,
    "quickstart": config.QuickstartOptions,
    "doctor": config.DoctorOptions,
    "label": training.LabelOptions,
    "fit": training.FitOptions,
    "validate": training.ValidateOptions,
    "export": training.ExportOptions,
}


@pytest.mark.parametrize("model", MODELS.values())
def test_defaults_validate_and_are_described(model):
    options = model()
    for name, field in model.model_fields.items():
        assert field.description, name
    # What a manifest stores must give the same options back.
    assert model.model_validate_json(options.model_dump_json()) == options


@pytest.mark.parametrize("model", MODELS.values())
def test_unknown_names_are_refused(model):
    with pytest.raises(UsageError, match=r"unknown option 'nonsense'; one of: .*"):
        config.options(model, {"nonsense": 1})


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        ("build", {"density": "heavy"}, "--density heavy: .*valid number.*g/cm3"),
        ("build", {"density": -1}, "--density -1: .*greater than 0"),
        ("build", {"atoms": "12.5"}, "--atoms 12.5: .*valid integer"),
        ("quench", {"high": 200}, r"--high 200: must be above low \(300 K\)"),
        ("quench", {"melt_ensemble": "nve"}, "--melt-ensemble nve: .*'npt' or 'nvt'"),
        ("sweep", {"temperatures": [300, 300]}, "--temperatures .*each temperature once"),
        ("sweep", {"temperatures": []}, "--temperatures .*at least 1"),
        ("sweep", {"dtype": "float16"}, "--dtype float16: .*'float32' or 'float64'"),
        ("quickstart", {"seed": 0}, "--seed 0: .*greater than or equal to 1"),
        ("doctor", {"ranks": 0}, "--ranks 0: .*greater than or equal to 1"),
        ("analyze", {"com": "li"}, "--com li: .*'all', 'group' or 'none'"),
        ("fit", {"average": 1.5}, "--average 1.5: .*less than 1"),
        (
            "validate",
            {"cell": [{}, {"atoms": 1}]},
            r"^cell\[1\].atoms = 1: .*greater than or equal",
        ),
        ("label", {"reference": {"knd": "ase"}}, "^reference.knd: unknown key"),
    ],
)
def test_bad_values_are_one_line(model, values, message):
    with pytest.raises(UsageError, match=message) as caught:
        config.options(MODELS[model], values)
    assert "\n" not in str(caught.value)


@given(low=st.floats(1, 5000), high=st.floats(1, 5000))
def test_melt_is_hotter_than_the_glass(low, high):
    if high > low:
        assert config.options(config.QuenchOptions, {"low": low, "high": high}).high == high
    else:
        with pytest.raises(UsageError, match="--high"):
            config.options(config.QuenchOptions, {"low": low, "high": high})


def test_options_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        config.BuildOptions().atoms = 3


def test_strings_of_the_command_line_are_converted():
    values = {"supercell": ["2", "1", "3"], "timestep": "0.5", "output": "x", "dispersion": True}
    options = config.options(config.QuenchOptions, values)
    assert options.supercell == (2, 1, 3)
    assert options.timestep == 0.5
    assert options.output == Path("x")


def test_toml_tables(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[quench]\nrate = 90.0\nsupercell = [2, 2, 2]\n")
    assert config.read_toml(path, "quench") == {"rate": 90.0, "supercell": [2, 2, 2]}
    assert config.read_toml(path, "sweep") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [("quench = 3\n", r"'quench' must be a table: write \[quench\]"), ("[quench\n", "not TOML")],
)
def test_bad_toml(tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        config.read_toml(path, "quench")


def test_missing_toml(tmp_path):
    with pytest.raises(UsageError, match=r"--config .*No such file"):
        config.read_toml(tmp_path / "no.toml", "quench")


class Whole(config.Options):
    low: int = 1
    high: int = 2

    @model_validator(mode="after")
    def _in_order(self):
        if self.high < self.low:
            raise ValueError("--high 0: must be above low")
        return self


def test_what_is_wrong_with_the_whole_is_one_line():
    with pytest.raises(UsageError, match=r"^--high 0: must be above low$"):
        config.options(Whole, {"high": 0})


def test_dashes_are_underscores_in_every_table():
    options = config.options(training.LabelOptions, {"reference": {"kind": "mace"}})
    assert options.reference.kind == "mace"
    options = config.options(training.ValidateOptions, {"own-time": 3, "cell": [{"atoms": 34}]})
    assert options.own_time == 3
    assert options.cell[0].atoms == 34
    nested = {"source": [], "fit": {"max-L": 1}}
    with pytest.raises(UsageError, match="source = "):
        config.options(training.LoopOptions, nested)
    source = {"kind": "file", "name": "there", "path": "x"}
    assert config.options(training.LoopOptions, nested | {"source": [source]}).fit.max_L == 1
