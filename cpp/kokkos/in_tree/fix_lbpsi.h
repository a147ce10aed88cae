// Registers our fixes with a LAMMPS that has their sources in its own tree.

#ifdef FIX_CLASS
// clang-format off
FixStyle(reference/atom,FixReferenceAtom);
FixStyle(reference/atom/kk,FixReferenceAtomKokkos);
FixStyle(halo/kk,FixHaloKokkos);
FixStyle(run/end,FixRunEnd);
// clang-format on
#else

#ifndef LBPSI_FIX_LBPSI_H
#define LBPSI_FIX_LBPSI_H

#include "lbpsi/kokkos/fix_halo_kokkos.h"
#include "lbpsi/kokkos/fix_reference_atom_kokkos.h"
#include "lbpsi/lammps/fix_reference_atom.h"
#include "lbpsi/lammps/fix_run_end.h"

#endif
#endif
