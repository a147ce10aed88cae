// compute msd/motif/kk: as compute msd/motif, on the device. Needs a compute motif/kk.

#ifndef LMP_COMPUTE_MSD_MOTIF_KOKKOS_H
#define LMP_COMPUTE_MSD_MOTIF_KOKKOS_H

#include "../lammps/compute_msd_motif.h"
#include "arrays_kokkos.h"

namespace LAMMPS_NS {

class ComputeMSDMotifKokkos : public ComputeMSDMotif {
 public:
  ComputeMSDMotifKokkos(class LAMMPS *, int, char **);

  void init() override;
  double memory_usage() override;

 protected:
  lbpsi::kk::Matrix<double> device_coordinates;    // (owned, 3), from the centre of mass
  lbpsi::kk::Matrix<double> device_rows;           // (owned, N_COLUMNS) of array_atom

  class ComputeMotifKokkos *device_motif() const;
  void place(const Frame &) override;
  void sum_masses(double *) const override;
  void subtract(const lbpsi::Vector &) override;
  void start_rows() override;
  void classify_rows() override;
  void advance_rows(bool renewed) override;
  void sum_classes(lbpsi::ClassDisplacements &) const override;
  void fill_rows() override;
};

}    // namespace LAMMPS_NS

#endif
