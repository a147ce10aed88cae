// fix reference/atom/kk: as fix reference/atom, with rows on the device.
//
//   fix ID group reference/atom/kk MOST
//
// A row has MOST numbers and their count before them, 0: none yet. Restart files are those of the
// plain fix.

#ifndef LMP_FIX_REFERENCE_ATOM_KOKKOS_H
#define LMP_FIX_REFERENCE_ATOM_KOKKOS_H

#include "../lammps/fix_reference_atom.h"
#include "lammps_kokkos.h"

namespace LAMMPS_NS {

class FixReferenceAtomKokkos : public FixReferenceAtom, public KokkosBase {
 public:
  using Rows = lbpsi::kk::Matrix<double>;

  FixReferenceAtomKokkos(class LAMMPS *, int, char **);

  static FixReferenceAtomKokkos *create(class LAMMPS *, const char *compute, const char *group,
                                        int most);
  static FixReferenceAtomKokkos *find(class LAMMPS *, const char *compute);

  // Rows (atoms, 1 + MOST) on the device, to read, or to change as well.
  Rows read();
  Rows change();

  void post_constructor() override;
  void grow_arrays(int) override;
  void copy_arrays(int, int, int) override;
  void set_arrays(int) override;
  int pack_exchange(int, double *) override;
  int unpack_exchange(int, double *) override;
  int pack_restart(int, double *) override;
  void unpack_restart(int, int) override;
  int size_restart(int) override;
  double memory_usage() override;

  int pack_exchange_kokkos(const int &, lbpsi::kk::ExchangeBuffer, lbpsi::kk::ExchangeList,
                           lbpsi::kk::ExchangeList, ExecutionSpace) override;
  void unpack_exchange_kokkos(lbpsi::kk::ExchangeBuffer, lbpsi::kk::ExchangeIndices, int, int, int,
                              ExecutionSpace) override;
  void sort_kokkos(Kokkos::BinSort<KeyViewType, BinOp> &) override;

 private:
  const int width;
  lbpsi::kk::DualMatrix<double> state;

  double *host_row(int i);    // to read
  double *changed_row(int i);
  int numbers(int i) { return static_cast<int>(host_row(i)[0]); }
};

}    // namespace LAMMPS_NS

#endif
