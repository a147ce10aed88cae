// Vectors and 3x3 matrices; a cell is a matrix with its lattice vectors as rows.

#ifndef LBPSI_MATRIX_H
#define LBPSI_MATRIX_H

#include "lbpsi/hd.h"

#include <cmath>

namespace lbpsi {

struct Vector {
  double x[3];

  LBPSI_HD double &operator[](int k) { return x[k]; }
  LBPSI_HD const double &operator[](int k) const { return x[k]; }
  LBPSI_HD double *begin() { return x; }
  LBPSI_HD double *end() { return x + 3; }
  LBPSI_HD const double *begin() const { return x; }
  LBPSI_HD const double *end() const { return x + 3; }
};

struct Matrix {
  Vector rows[3];

  LBPSI_HD Vector &operator[](int i) { return rows[i]; }
  LBPSI_HD const Vector &operator[](int i) const { return rows[i]; }
  LBPSI_HD Vector *begin() { return rows; }
  LBPSI_HD Vector *end() { return rows + 3; }
  LBPSI_HD const Vector *begin() const { return rows; }
  LBPSI_HD const Vector *end() const { return rows + 3; }
};

constexpr Matrix UNIT_MATRIX = {{{1.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}}};

LBPSI_HD Vector operator-(const Vector &a, const Vector &b)
{
  return {{a[0] - b[0], a[1] - b[1], a[2] - b[2]}};
}

LBPSI_HD Vector operator*(const Vector &v, const Matrix &m)
{
  Vector product;
  for (int k = 0; k < 3; ++k) product[k] = v[0] * m[0][k] + v[1] * m[1][k] + v[2] * m[2][k];
  return product;
}

LBPSI_HD Matrix operator*(const Matrix &a, const Matrix &b)
{
  return {{a[0] * b, a[1] * b, a[2] * b}};
}

LBPSI_HD double dot(const Vector &a, const Vector &b)
{
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

LBPSI_HD Vector cross(const Vector &a, const Vector &b)
{
  return {{a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]}};
}

LBPSI_HD double norm(const Vector &a) { return std::sqrt(dot(a, a)); }

LBPSI_HD double determinant(const Matrix &m) { return dot(m[0], cross(m[1], m[2])); }

// Of a cell, on the host. Throws std::invalid_argument where its vectors span no volume.
Matrix inverse(const Matrix &);

}    // namespace lbpsi

#endif
