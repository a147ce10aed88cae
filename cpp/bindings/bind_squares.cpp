#include "bindings.h"

#include "lbpsi/chemistry.h"
#include "lbpsi/squares.h"

#include <cstdint>

namespace py = pybind11;

namespace lbpsi::bindings {

namespace {

using Frames = Array<std::int64_t>;

FramePairs frame_pairs(const Array<double> &positions, const Frames &start, const Frames &stop)
{
  check_shape("positions", positions, {-1, -1, 3});
  check_shape("start", start, {-1});
  check_shape("stop", stop, {start.size()});
  const py::ssize_t frames = positions.shape(0);
  for (const Frames *ends : {&start, &stop})
    for (py::ssize_t p = 0; p < ends->size(); ++p)
      if (ends->data()[p] < 0 || ends->data()[p] >= frames)
        throw std::invalid_argument("pair " + std::to_string(p) + " has frame " +
                                    std::to_string(ends->data()[p]) + "; expected 0 to " +
                                    std::to_string(frames - 1));
  return {positions.data(), positions.shape(1), start.data(), stop.data(), start.size()};
}

py::tuple by_atom(const Array<double> &positions, const Frames &start, const Frames &stop)
{
  const FramePairs pairs = frame_pairs(positions, start, stop);
  if (pairs.number == 0) throw std::invalid_argument("start is empty; expected a pair of frames");
  py::array_t<double> mean(pairs.atoms), variance(pairs.atoms);
  double *to_mean = mean.mutable_data(), *to_variance = variance.mutable_data();
  {
    py::gil_scoped_release release;
    squares_by_atom(pairs, to_mean, to_variance);
  }
  return py::make_tuple(mean, variance);
}

py::array_t<double> by_class(const Array<double> &positions, const Frames &start,
                             const Frames &stop, const Array<std::int8_t> &cls,
                             const Array<std::int64_t> &until)
{
  const FramePairs pairs = frame_pairs(positions, start, stop);
  check_shape("cls", cls, {positions.shape(0), pairs.atoms});
  check_shape("until", until, {positions.shape(0), pairs.atoms});
  for (py::ssize_t k = 0; k < cls.size(); ++k)
    if (cls.data()[k] < 1 || cls.data()[k] > N_CLASSES)
      throw std::invalid_argument("cls holds " + std::to_string(cls.data()[k]) +
                                  "; expected 1 to " + std::to_string(N_CLASSES));
  py::array_t<double> sums({2, 3, N_CLASSES});
  double *to = sums.mutable_data();
  {
    py::gil_scoped_release release;
    squares_by_class(pairs, cls.data(), until.data(), N_CLASSES, to);
  }
  return sums;
}

}    // namespace

void bind_squares(py::module_ &m)
{
  m.def("squares_by_atom", &by_atom, py::arg("positions"), py::arg("start"), py::arg("stop"),
        "Mean (n,) and variance (n,) of the squared displacements of each atom between the frames "
        "start (p,) and stop (p,) of positions (f, n, 3). ValueError for other shapes and frames, "
        "and without pairs.");
  m.def("squares_by_class", &by_class, py::arg("positions"), py::arg("start"), py::arg("stop"),
        py::arg("cls"), py::arg("until"),
        "Sums over displacements as in squares_by_atom, (2, 3, classes): of ones, squares and "
        "their squares by the class cls (f, n), from 1, at start; of all, then of those whose "
        "class holds until (f, n), a frame, or longer. ValueError as there and for other classes.");
}

}    // namespace lbpsi::bindings
