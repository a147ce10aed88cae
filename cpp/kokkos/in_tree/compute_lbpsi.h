// Registers our computes with a LAMMPS that has their sources in its own tree.

#ifdef COMPUTE_CLASS
// clang-format off
ComputeStyle(motif,ComputeMotif);
ComputeStyle(msd/motif,ComputeMSDMotif);
ComputeStyle(kabsch,ComputeKabsch);
ComputeStyle(motif/kk,ComputeMotifKokkos);
ComputeStyle(motif/kk/device,ComputeMotifKokkos);
ComputeStyle(msd/motif/kk,ComputeMSDMotifKokkos);
ComputeStyle(msd/motif/kk/device,ComputeMSDMotifKokkos);
ComputeStyle(kabsch/kk,ComputeKabschKokkos);
ComputeStyle(kabsch/kk/device,ComputeKabschKokkos);
// clang-format on
#else

#ifndef LBPSI_COMPUTE_LBPSI_H
#define LBPSI_COMPUTE_LBPSI_H

#include "lbpsi/kokkos/compute_kabsch_kokkos.h"
#include "lbpsi/kokkos/compute_motif_kokkos.h"
#include "lbpsi/kokkos/compute_msd_motif_kokkos.h"
#include "lbpsi/lammps/compute_kabsch.h"
#include "lbpsi/lammps/compute_motif.h"
#include "lbpsi/lammps/compute_msd_motif.h"

#endif
#endif
