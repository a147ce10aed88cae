#include "../lammps/refresh_ghosts.h"

#include "atom_kokkos.h"
#include "atom_masks.h"
#include "comm.h"
#include "kokkos.h"
#include "lammps_kokkos.h"

using namespace LAMMPS_NS;

// LAMMPS receives positions into the memory of one side and does not always mark that: those of the
// other side would be old, and overwrite them.
void lbpsi::refresh_ghosts(LAMMPS *lmp)
{
  if (!lmp->kokkos) {
    lmp->comm->forward_comm();
    return;
  }
  ExecutionSpace side = kk::SPACE;
  if (kk::forward_comm_is_plain(*lmp->kokkos, 0))
    side = Host;
  else if (lmp->kokkos->forward_comm_on_host)
    side = ExecutionSpaceFromDevice<LMPHostType>::space;    // of 2026 a copy beside Host's
  lmp->atomKK->sync(side, X_MASK);
  lmp->comm->forward_comm();
  lmp->atomKK->modified(side, X_MASK);
  lmp->atomKK->sync(Host, X_MASK);
}
