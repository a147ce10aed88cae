// The table of styles that this plugin registers, and the check that it meets the LAMMPS release
// whose class layouts it was compiled with.

#include "compute_kabsch.h"
#include "compute_motif.h"
#include "compute_msd_motif.h"
#include "fix_reference_atom.h"
#include "fix_run_end.h"
#include "pair_mliap_py.h"
#include "plugin_abi.h"

#include <cstdio>
#include <dlfcn.h>
#include <mpi.h>

using namespace LAMMPS_NS;

namespace {

template <class Style> void *create(void *lmp) { return new Style(static_cast<LAMMPS *>(lmp)); }

template <class Style> void *create(void *lmp, int narg, char **arg)
{
  return new Style(static_cast<LAMMPS *>(lmp), narg, arg);
}

struct Style {
  const char *category, *name, *info;
  void *(*of_pair)(void *);    // one of the two
  void *(*of_command)(void *, int, char **);
};

constexpr Style STYLES[] = {
    {"pair", "mliap/py", "ML-IAP unified protocol (MACE) without the PYTHON package",
     create<PairMLIAPPy>, nullptr},
    {"compute", "motif", "units, anions and motif classes of a sulfide glass", nullptr,
     create<ComputeMotif>},
    {"compute", "msd/motif", "mean squared displacements by motif class", nullptr,
     create<ComputeMSDMotif>},
    {"compute", "kabsch", "rotations of units since a reference", nullptr, create<ComputeKabsch>},
    {"fix", "reference/atom", "state that a compute keeps for its atoms", nullptr,
     create<FixReferenceAtom>},
    {"fix", "run/end", "tells a compute when a run has ended", nullptr, create<FixRunEnd>},
};

bool release_matches(void *lmp)
{
  auto *version = reinterpret_cast<int (*)(void *)>(dlsym(RTLD_DEFAULT, "lammps_version"));
  const int release = version ? version(lmp) : 0;
  if (release == LBPSI_LAMMPS_RELEASE) return true;
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == 0)
    std::fprintf(stderr,
                 "WARNING: lbpsiplugin.so not loaded: it was built for LAMMPS release %d and this "
                 "is %d; reinstall lbpsi-driver beside this LAMMPS\n",
                 LBPSI_LAMMPS_RELEASE, release);
  return false;
}

}    // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                                         void *regfunc)
{
  if (!release_matches(lmp)) return;

  lammpsplugin_t plugin{};
  plugin.version = LBPSI_LAMMPS_VERSION;
  plugin.author = "The developers of lbpsi " LBPSI_VERSION;
  plugin.handle = handle;

  for (const auto &style : STYLES) {
    plugin.style = style.category;
    plugin.name = style.name;
    plugin.info = style.info;
    if (style.of_pair)
      plugin.creator.v1 = style.of_pair;
    else
      plugin.creator.v2 = style.of_command;
    reinterpret_cast<lammpsplugin_regfunc>(regfunc)(&plugin, lmp);
  }
}
