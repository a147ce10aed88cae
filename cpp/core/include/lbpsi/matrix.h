// Vectors and 3x3 matrices; a cell is a matrix with its lattice vectors as rows.

#ifndef LBPSI_MATRIX_H
#define LBPSI_MATRIX_H

#include <array>

namespace lbpsi {

using Vector = std::array<double, 3>;
using Matrix = std::array<Vector, 3>;

constexpr Matrix UNIT_MATRIX = {{{1.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}}};

Vector operator-(const Vector &, const Vector &);
Vector operator*(const Vector &, const Matrix &);
Matrix operator*(const Matrix &, const Matrix &);
inline double dot(const Vector &a, const Vector &b)
{
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}
double norm(const Vector &);
double determinant(const Matrix &);
// Of a cell. Throws std::invalid_argument where its vectors span no volume.
Matrix inverse(const Matrix &);

}    // namespace lbpsi

#endif
