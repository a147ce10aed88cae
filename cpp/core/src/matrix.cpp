#include "lbpsi/matrix.h"

#include <stdexcept>
#include <string>

namespace lbpsi {

namespace {

constexpr double LEAST_VOLUME = 1e-9;    // of the box that the lengths of the vectors would span

}    // namespace

Matrix inverse(const Matrix &m)
{
  const double volume = determinant(m);
  const double box = norm(m[0]) * norm(m[1]) * norm(m[2]);
  if (!(std::abs(volume) > LEAST_VOLUME * box) || !std::isfinite(volume))
    throw std::invalid_argument("cell has volume " + std::to_string(volume) +
                                "; expected three lattice vectors that span one");
  const Matrix columns = {{cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])}};
  Matrix result;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) result[i][j] = columns[j][i] / volume;
  return result;
}

}    // namespace lbpsi
