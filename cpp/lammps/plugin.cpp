// The table of styles that this plugin registers, and the check that it meets the LAMMPS release
// whose class layouts it was compiled with.

#include "pair_mliap_py.h"
#include "plugin_abi.h"

#include <cstdio>
#include <dlfcn.h>
#include <mpi.h>

using namespace LAMMPS_NS;

namespace {

void *pair_mliap_py(void *lmp) { return new PairMLIAPPy(static_cast<LAMMPS *>(lmp)); }

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
  plugin.author = "The lbpsi_driver developers";
  plugin.handle = handle;

  plugin.style = "pair";
  plugin.name = "mliap/py";
  plugin.info = "ML-IAP unified protocol (MACE) without the PYTHON package, lbpsi " LBPSI_VERSION;
  plugin.creator.v1 = pair_mliap_py;
  reinterpret_cast<lammpsplugin_regfunc>(regfunc)(&plugin, lmp);
}
