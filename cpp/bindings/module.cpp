// lbpsi_driver._kernels: the core's kernels on NumPy arrays. The Python façade in observables/ is
// what users call.

#include "bindings.h"

PYBIND11_MODULE(_kernels, m)
{
  m.doc() = "Kernels of lbpsi_driver: neighbours, motifs, Kabsch rotations.";
  lbpsi::bindings::bind_table(m);
  lbpsi::bindings::bind_neighbors(m);
  lbpsi::bindings::bind_motif(m);
  lbpsi::bindings::bind_kabsch(m);
  lbpsi::bindings::bind_msd(m);
  lbpsi::bindings::bind_rows(m);
  lbpsi::bindings::bind_squares(m);
}
