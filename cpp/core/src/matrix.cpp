#include "lbpsi/matrix.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace lbpsi {

namespace {

constexpr double LEAST_VOLUME = 1e-9;    // of the box that the lengths of the vectors would span

Vector cross(const Vector &a, const Vector &b)
{
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

}    // namespace

Vector operator-(const Vector &a, const Vector &b)
{
  return {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
}

Vector operator*(const Vector &v, const Matrix &m)
{
  Vector product;
  for (int k = 0; k < 3; ++k) product[k] = v[0] * m[0][k] + v[1] * m[1][k] + v[2] * m[2][k];
  return product;
}

Matrix operator*(const Matrix &a, const Matrix &b) { return {a[0] * b, a[1] * b, a[2] * b}; }

double norm(const Vector &a) { return std::sqrt(dot(a, a)); }

double determinant(const Matrix &m) { return dot(m[0], cross(m[1], m[2])); }

Matrix inverse(const Matrix &m)
{
  const double volume = determinant(m);
  const double box = norm(m[0]) * norm(m[1]) * norm(m[2]);
  if (!(std::abs(volume) > LEAST_VOLUME * box) || !std::isfinite(volume))
    throw std::invalid_argument("cell has volume " + std::to_string(volume) +
                                "; expected three lattice vectors that span one");
  const Matrix columns = {cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])};
  Matrix result;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) result[i][j] = columns[j][i] / volume;
  return result;
}

}    // namespace lbpsi
