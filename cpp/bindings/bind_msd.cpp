#include "bindings.h"

#include "lbpsi/displacement.h"
#include "lbpsi/msd.h"

#include <pybind11/stl.h>

#include <algorithm>

namespace py = pybind11;

namespace lbpsi::bindings {

namespace {

Matrix to_matrix(const Array<double> &cell)
{
  check_shape("cell", cell, {3, 3});
  Matrix rows;
  for (int i = 0; i < 3; ++i)
    std::copy(cell.data() + 3 * i, cell.data() + 3 * i + 3, rows[i].begin());
  return rows;
}

py::array_t<double> to_array(const Matrix &cell)
{
  py::array_t<double> array({3, 3});
  for (int i = 0; i < 3; ++i)
    std::copy(cell[i].begin(), cell[i].end(), array.mutable_data() + 3 * i);
  return array;
}

OriginHistory start(std::int64_t step, const Array<double> &cell)
{
  OriginHistory history;
  history.start(step, to_matrix(cell));
  return history;
}

OriginHistory unpack(const std::vector<double> &numbers)
{
  if (numbers.size() != OriginHistory::PACKED)
    throw std::invalid_argument("numbers has length " + std::to_string(numbers.size()) +
                                "; expected " + std::to_string(OriginHistory::PACKED) +
                                ", as pack gives them");
  return OriginHistory::unpack(numbers.data());
}

py::array_t<double> displacements_by_class(const Array<int> &cls,
                                           const Array<double> &displacements,
                                           const Array<bool> &survivors)
{
  check_shape("cls", cls, {-1});
  const auto n = cls.shape(0);
  check_shape("displacements", displacements, {n, 3});
  check_shape("survivors", survivors, {n});
  ClassDisplacements table;
  for (py::ssize_t i = 0; i < n; ++i) {
    const int code = cls.data()[i];
    if (code < 1 || code > N_CLASSES)
      throw std::invalid_argument("cls of atom " + std::to_string(i + 1) + " is " +
                                  std::to_string(code) + "; expected 1 to " +
                                  std::to_string(N_CLASSES));
    const double *d = displacements.data() + 3 * i;
    table.add(code, {{d[0], d[1], d[2]}}, survivors.data()[i]);
  }
  py::array_t<double> rows({N_CLASSES, int(ClassDisplacements::N_COLUMNS)});
  for (int code = 1; code <= N_CLASSES; ++code) table.row(code, rows.mutable_data(code - 1, 0));
  return rows;
}

}    // namespace

void bind_msd(py::module_ &m)
{
  py::class_<OriginHistory>(m, "OriginHistory",
                            "Cells (rows are lattice vectors, Å) seen since an origin of "
                            "displacements, flips of a triclinic cell undone.")
      .def(py::init(&start), py::arg("step"), py::arg("cell"))
      .def(
          "evaluate",
          [](OriginHistory &self, std::int64_t step, const Array<double> &cell,
             std::int64_t renew) { return self.evaluate(step, to_matrix(cell), renew); },
          py::arg("step"), py::arg("cell"), py::arg("renew") = 0,
          "One evaluation; those of one step count once. True where it is the first that counts "
          "from a new origin.")
      .def_property_readonly("is_next_origin", &OriginHistory::is_next_origin)
      .def_property_readonly(
          "continuous_cell",
          [](const OriginHistory &self) { return to_array(self.continuous_cell()); })
      .def_property_readonly("mean_cell",
                             [](const OriginHistory &self) { return to_array(self.mean_cell()); })
      .def("pack",
           [](const OriginHistory &self) {
             std::vector<double> numbers;
             self.pack(numbers);
             return numbers;
           })
      .def_static("unpack", &unpack, py::arg("numbers"));
  m.def("displacements_by_class", &displacements_by_class, py::arg("cls"), py::arg("displacements"),
        py::arg("survivors"),
        "Rows of compute msd/motif from classes at the origin (n,), displacements (n, 3), Å, and "
        "whether each class has held (n,).");
}

}    // namespace lbpsi::bindings
