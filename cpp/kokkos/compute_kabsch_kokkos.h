// compute kabsch/kk: as compute kabsch, on the device. Needs a compute motif/kk.

#ifndef LMP_COMPUTE_KABSCH_KOKKOS_H
#define LMP_COMPUTE_KABSCH_KOKKOS_H

#include "../lammps/compute_kabsch.h"
#include "arrays_kokkos.h"

namespace LAMMPS_NS {

class ComputeKabschKokkos : public ComputeKabsch {
 public:
  ComputeKabschKokkos(class LAMMPS *, int, char **);

  void init() override;
  double memory_usage() override;

 protected:
  // (evaluated_atoms), apart: most atoms are no former, and have no rotation to look at
  lbpsi::kk::Vector<int> device_classes;
  lbpsi::kk::Vector<lbpsi::UnitRotation> device_rotations;
  int evaluated_atoms;

  class ComputeMotifKokkos *device_motif() const;
  void evaluate() override;
  void require_sound(int, const lbpsi::kk::Matrix<double> &) const;
  void sum_units(double *, double *) const override;
  void fill_rows() override;
};

}    // namespace LAMMPS_NS

#endif
