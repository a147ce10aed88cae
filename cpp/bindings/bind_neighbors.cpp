#include "bindings.h"

#include "lbpsi/neighbors.h"

namespace py = pybind11;

namespace lbpsi::bindings {

namespace {

py::tuple pairs(const Array<double> &positions, const Array<double> &cell, double cutoff)
{
  check_shape("positions", positions, {-1, 3});
  check_shape("cell", cell, {3, 3});
  std::vector<NeighborPair> found;
  {
    const double *x = positions.data(), *h = cell.data();
    const int n = static_cast<int>(positions.shape(0));
    py::gil_scoped_release release;
    found = neighbor_pairs(x, n, h, cutoff);
  }
  const auto m = static_cast<py::ssize_t>(found.size());
  py::array_t<int> i(m), j(m), shift({m, py::ssize_t(3)});
  py::array_t<double> d({m, py::ssize_t(3)});
  for (py::ssize_t k = 0; k < m; ++k) {
    i.mutable_data()[k] = found[k].i;
    j.mutable_data()[k] = found[k].j;
    for (int axis = 0; axis < 3; ++axis) {
      shift.mutable_data()[3 * k + axis] = found[k].shift[axis];
      d.mutable_data()[3 * k + axis] = found[k].d[axis];
    }
  }
  return py::make_tuple(i, j, shift, d);
}

}    // namespace

void bind_neighbors(py::module_ &m)
{
  m.def("neighbor_pairs", &pairs, py::arg("positions"), py::arg("cell"), py::arg("cutoff"),
        "Ordered pairs (i, image of j) closer than cutoff (Å) in the periodic cell whose rows are "
        "the lattice vectors: i (m,), j (m,), shift (m, 3) and d (m, 3), sorted by i, j and shift; "
        "d = positions[j] + shift @ cell - positions[i].");
}

}    // namespace lbpsi::bindings
