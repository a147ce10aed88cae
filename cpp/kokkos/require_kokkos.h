// Styles on the device without Kokkos would take an atom for what it is not.

#ifndef LBPSI_REQUIRE_KOKKOS_H
#define LBPSI_REQUIRE_KOKKOS_H

#include "error.h"
#include "lammps.h"

namespace lbpsi::kk {

// Before anything else of a compute is made: its LAMMPS; arg as in its input line.
inline LAMMPS_NS::LAMMPS *require_kokkos(LAMMPS_NS::LAMMPS *lmp, char **arg)
{
  if (!lmp->kokkos)
    lmp->error->all(FLERR, "compute {}: {} runs without Kokkos here; start LAMMPS with -k on",
                    arg[0], arg[2]);
  return lmp;
}

}    // namespace lbpsi::kk

#endif
