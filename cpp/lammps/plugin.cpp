// The table of styles that every plugin of ours registers, and the check that it meets the LAMMPS
// release whose class layouts it was compiled with.

#include "compute_kabsch.h"
#include "compute_motif.h"
#include "compute_msd_motif.h"
#include "fix_reference_atom.h"
#include "fix_run_end.h"
#include "plugin_abi.h"
#include "plugin_table.h"

#include <cstdio>
#include <dlfcn.h>
#include <mpi.h>

using namespace LAMMPS_NS;
using lbpsi::plugin::create;
using lbpsi::plugin::Style;

namespace {

constexpr Style STYLES[] = {
    {"compute", "motif", "units, anions and motif classes of a sulfide glass", nullptr,
     create<ComputeMotif>},
    {"compute", "msd/motif", "mean squared displacements by motif class", nullptr,
     create<ComputeMSDMotif>},
    {"compute", "kabsch", "rotations of units since a reference", nullptr, create<ComputeKabsch>},
    {"fix", "reference/atom", "state that a compute keeps for its atoms", nullptr,
     create<FixReferenceAtom>},
    {"fix", "run/end", "tells a compute when a run has ended", nullptr, create<FixRunEnd>},
};

// How this LAMMPS differs from the one that the plugin was compiled for.
std::string difference(void *lmp)
{
  auto *version = reinterpret_cast<int (*)(void *)>(dlsym(RTLD_DEFAULT, "lammps_version"));
  const int release = version ? version(lmp) : 0;
  if (release == LBPSI_LAMMPS_RELEASE) return lbpsi::plugin::difference(lmp);
  return "it was built for LAMMPS release " + std::to_string(LBPSI_LAMMPS_RELEASE) +
         " and this is " + std::to_string(release);
}

bool fits(void *lmp)
{
  const std::string problem = difference(lmp);
  if (problem.empty()) return true;
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == 0)
    std::fprintf(stderr, "WARNING: %s not loaded: %s; %s\n", lbpsi::plugin::FILE_NAME,
                 problem.c_str(), lbpsi::plugin::REMEDY);
  return false;
}

}    // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                                         void *regfunc)
{
  if (!fits(lmp)) return;

  lammpsplugin_t plugin{};
  plugin.version = LBPSI_LAMMPS_VERSION;
  plugin.author = "The developers of lbpsi " LBPSI_VERSION;
  plugin.handle = handle;

  auto styles = lbpsi::plugin::more_styles();
  styles.insert(styles.end(), std::begin(STYLES), std::end(STYLES));
  for (const auto &style : styles) {
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
