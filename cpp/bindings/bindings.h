// What the bindings share: each bind_<kernel>.cpp adds its functions to the module, and arrays are
// checked here, so that a wrong shape is one line that names the argument.

#ifndef LBPSI_BINDINGS_H
#define LBPSI_BINDINGS_H

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace lbpsi::bindings {

template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style | pybind11::array::forcecast>;

void bind_table(pybind11::module_ &);
void bind_neighbors(pybind11::module_ &);
void bind_motif(pybind11::module_ &);
void bind_kabsch(pybind11::module_ &);
void bind_msd(pybind11::module_ &);
void bind_rows(pybind11::module_ &);
void bind_squares(pybind11::module_ &);

// Shape of an array against what is expected; -1 takes any length.
inline void check_shape(const char *name, const pybind11::array &array,
                        std::initializer_list<pybind11::ssize_t> expected)
{
  std::string given, wanted;
  bool fits = array.ndim() == static_cast<pybind11::ssize_t>(expected.size());
  for (pybind11::ssize_t axis = 0; axis < array.ndim(); ++axis)
    given += (axis ? ", " : "") + std::to_string(array.shape(axis));
  pybind11::ssize_t axis = 0;
  for (const auto length : expected) {
    wanted += (axis ? ", " : "") + (length < 0 ? std::string("n") : std::to_string(length));
    if (fits && length >= 0 && array.shape(axis) != length) fits = false;
    ++axis;
  }
  if (!fits)
    throw std::invalid_argument(std::string(name) + " has shape (" + given + "); expected (" +
                                wanted + ")");
}

}    // namespace lbpsi::bindings

#endif
