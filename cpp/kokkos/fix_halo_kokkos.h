// fix halo/kk: carries rows that a compute keeps on the device from atoms to their ghosts.
//
//   fix ID group halo/kk
//
// Made by a compute, not by users: up to 2026 LAMMPS exchanges data on the device for a fix and not
// for a compute.

#ifndef LMP_FIX_HALO_KOKKOS_H
#define LMP_FIX_HALO_KOKKOS_H

#include "fix.h"
#include "lammps_kokkos.h"

namespace LAMMPS_NS {

class FixHaloKokkos : public Fix, public KokkosBase {
 public:
  using Rows = lbpsi::kk::Matrix<double>;

  FixHaloKokkos(class LAMMPS *, int, char **);

  // The fix ID_halo of a compute; deleted with it.
  static FixHaloKokkos *create(class LAMMPS *, const char *compute);
  static FixHaloKokkos *find(class LAMMPS *, const char *compute);
  static void destroy(class LAMMPS *, const char *compute);

  // Copy rows (total, width) of owned atoms to their ghosts. Collective.
  void forward(const Rows &);

  int setmask() override { return 0; }

  // As releases name the exchange on the device: LAMMPS calls one of the two.
  int pack_forward_comm_kokkos(int, lbpsi::kk::ForwardList, lbpsi::kk::ForwardBuffer, int,
                               int *) override;
  void unpack_forward_comm_kokkos(int, int, lbpsi::kk::ForwardBuffer) override;
  virtual int pack_forward_comm_fix_kokkos(int, lbpsi::kk::ForwardList, lbpsi::kk::ForwardBuffer,
                                           int, int *);
  virtual void unpack_forward_comm_fix_kokkos(int, int, lbpsi::kk::ForwardBuffer);
  // comm_style tiled, and package kokkos comm no or host.
  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;

 private:
  Rows rows;
  int begin, count;    // the columns now travelling to ghosts
  lbpsi::kk::Mirror<Rows> copy;
  bool on_host;    // LAMMPS has asked for rows on the host, which copy holds

  void need_copy();
};

}    // namespace LAMMPS_NS

#endif
