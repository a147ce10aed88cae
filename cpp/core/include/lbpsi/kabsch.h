// The rotation between two labelled sets of vectors, and its angle up to the symmetry of a unit.
//
// Kabsch's problem (Acta Cryst. A32, 922 (1976)) in quaternions (Horn, J. Opt. Soc. Am. A 4, 629
// (1987)): the best proper rotation is the eigenvector of the largest eigenvalue of a symmetric 4x4
// matrix, the best improper one that of the least.

#ifndef LBPSI_KABSCH_H
#define LBPSI_KABSCH_H

#include "lbpsi/hd.h"

#include <cmath>

namespace lbpsi {

// w + xi + yj + zk; unit length where it is a rotation.
struct Quaternion {
  double w = 1.0, x = 0.0, y = 0.0, z = 0.0;
};

struct Fit {
  Quaternion rotation;      // takes from to to; w >= 0
  double residual = 0.0;    // root mean square of |R p - q|, the vectors' unit
  bool inverted = false;    // an improper rotation fits clearly better
};

// How much better an improper rotation must fit before a set counts as inverted: the ratio of
// sum q.R p, improper to proper. A planar unit is its own mirror image, and its umbrella motion is
// no inversion. The ratio is 3 for a tetrahedron and 1.21 for S3P-P with S-P-P angles of 107 deg,
// each against its mirror image. For a trigonal unit it is (1 + x) / (1 - x), where x is the
// product of the former's two heights over the plane of S, over the squared distance of S from the
// axis: BS3 comes to the margin with 0.42 A each to opposite sides. With a thermal rms of 0.13 A
// (400 cm-1 at 1200 K) it does so once in a million, and the mirrored pyramid fails to with 0.1 A
// of noise on each coordinate once in a thousand, with 0.05 A never.
constexpr double INVERSION_MARGIN = 1.12;

constexpr int LEAST_VECTORS = 2;

// Best proper rotation R that minimises sum |R p_k - q_k|^2; from and to: (n, 3), n >= 2. Of many
// that fit alike (collinear sets) the one with the least angle.
LBPSI_HD Fit kabsch(const double *from, const double *to, int n);

// Rotation angle in [0, pi]: 2 atan2(|v|, |w|), exact near both ends.
LBPSI_HD double rotation_angle(const Quaternion &);
// Unit axis with w >= 0 (zero for the identity).
LBPSI_HD void rotation_axis(const Quaternion &, double axis[3]);

// Proper rotations of an ideal unit: T (12) of XS4, D3 (6) of planar XS3, C3 (3) of a pyramid.
enum class Symmetry { none, c3, d3, t };

// Symmetry of a reference of n vectors, and the frame in which its ideal unit stands: the rotation
// that takes the ideal unit onto the reference. pyramid: a trigonal unit whose apex is known;
// others are pyramids where their own mirror image counts as inverted.
LBPSI_HD Symmetry fit_symmetry(const double *reference, int n, bool pyramid, Quaternion &frame);

// Least angle of R g over the symmetry operations g of the unit.
LBPSI_HD double reduced_angle(const Quaternion &rotation, Symmetry, const Quaternion &frame);

LBPSI_HD Quaternion operator*(const Quaternion &a, const Quaternion &b)
{
  return {
      a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z, a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
      a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x, a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w};
}

LBPSI_HD Quaternion conjugate(const Quaternion &q) { return {q.w, -q.x, -q.y, -q.z}; }

namespace detail {

// Of a matrix of norm 1; a lesser one has lost digits.
constexpr double LEAST_ADJUGATE = 3e-2;
// Newton's steps shrink by squares: the one after this is lost in rounding.
constexpr double LAST_STEP = 1e-9;
constexpr int MOST_STEPS = 30;
// Its inverse is finite.
constexpr double LEAST_BOUND = 1e-300;
// Eigenvalues closer than this are one.
constexpr double DEGENERATE = 1e-12;

// sum p q^T over sqrt(sum p^2 sum q^2). False where a set is all zeros.
LBPSI_HD bool correlate(const double *from, const double *to, int n, double s[3][3])
{
  double pp = 0.0, qq = 0.0;
  for (int a = 0; a < 3; ++a) s[a][0] = s[a][1] = s[a][2] = 0.0;
  for (int k = 0; k < n; ++k) {
    const double *p = from + 3 * k, *q = to + 3 * k;
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) s[a][b] += p[a] * q[b];
    pp += p[0] * p[0] + p[1] * p[1] + p[2] * p[2];
    qq += q[0] * q[0] + q[1] * q[1] + q[2] * q[2];
  }
  const double bound = std::sqrt(pp) * std::sqrt(qq);
  if (!(bound > LEAST_BOUND)) return false;
  const double scale = 1.0 / bound;
  for (int a = 0; a < 3; ++a)
    for (int b = 0; b < 3; ++b) s[a][b] *= scale;
  return true;
}

// Horn's matrix, symmetric, without trace, of eigenvalues in [-1, 1].
LBPSI_HD void horn_matrix(const double s[3][3], double m[4][4])
{
  m[0][0] = s[0][0] + s[1][1] + s[2][2];
  m[1][1] = s[0][0] - s[1][1] - s[2][2];
  m[2][2] = s[1][1] - s[0][0] - s[2][2];
  m[3][3] = s[2][2] - s[0][0] - s[1][1];
  m[0][1] = m[1][0] = s[1][2] - s[2][1];
  m[0][2] = m[2][0] = s[2][0] - s[0][2];
  m[0][3] = m[3][0] = s[0][1] - s[1][0];
  m[1][2] = m[2][1] = s[0][1] + s[1][0];
  m[1][3] = m[3][1] = s[2][0] + s[0][2];
  m[2][3] = m[3][2] = s[1][2] + s[2][1];
}

// Minors of the first two rows and of the last two, columns 01 02 03 12 13 23.
struct Minors {
  double top[6], low[6];
};

LBPSI_HD Minors minors(const double a[4][4])
{
  Minors d;
  int k = 0;
  for (int i = 0; i < 4; ++i)
    for (int j = i + 1; j < 4; ++j, ++k) {
      d.top[k] = a[0][i] * a[1][j] - a[0][j] * a[1][i];
      d.low[k] = a[2][i] * a[3][j] - a[2][j] * a[3][i];
    }
  return d;
}

// x^4 + c2 x^2 + c1 x + c0.
struct Quartic {
  double c2, c1, c0;
};

LBPSI_HD double value(const Quartic &f, double x) { return ((x * x + f.c2) * x + f.c1) * x + f.c0; }

// Characteristic polynomial of Horn's matrix (Theobald, Acta Cryst. A61, 478 (2005)).
LBPSI_HD Quartic characteristic(const double s[3][3], const double m[4][4])
{
  double squares = 0.0;
  for (int a = 0; a < 3; ++a) squares += s[a][0] * s[a][0] + s[a][1] * s[a][1] + s[a][2] * s[a][2];
  const double volume = s[0][0] * (s[1][1] * s[2][2] - s[1][2] * s[2][1]) -
                        s[0][1] * (s[1][0] * s[2][2] - s[1][2] * s[2][0]) +
                        s[0][2] * (s[1][0] * s[2][1] - s[1][1] * s[2][0]);
  const Minors d = minors(m);
  const double determinant = d.top[0] * d.low[5] - d.top[1] * d.low[4] + d.top[2] * d.low[3] +
                             d.top[3] * d.low[2] - d.top[4] * d.low[1] + d.top[5] * d.low[0];
  return {-2.0 * squares, -8.0 * volume, determinant};
}

// Largest root by Newton's steps down from 1. False where they stall, as at a multiple root.
LBPSI_HD bool largest_root(const Quartic &f, double &x)
{
  x = 1.0;
  for (int step = 0; step < MOST_STEPS; ++step) {
    const double slope = (4.0 * x * x + 2.0 * f.c2) * x + f.c1;
    if (!(slope > 0.0)) return false;
    const double change = value(f, x) / slope;
    x -= change;
    if (std::fabs(change) < LAST_STEP) return true;
  }
  return false;
}

// Eigenvector of a simple eigenvalue: the longest column of the adjugate, which is a multiple of
// v v^T. False where the adjugate is too small to tell.
LBPSI_HD bool adjugate_vector(const double m[4][4], double eigenvalue, double v[4])
{
  double a[4][4];
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) a[i][j] = i == j ? m[i][i] - eigenvalue : m[i][j];
  const Minors d = minors(a);
  const double *s = d.top, *c = d.low;
  double b[4][4];
  b[0][0] = a[1][1] * c[5] - a[1][2] * c[4] + a[1][3] * c[3];
  b[1][1] = a[0][0] * c[5] - a[0][2] * c[2] + a[0][3] * c[1];
  b[2][2] = a[3][0] * s[4] - a[3][1] * s[2] + a[3][3] * s[0];
  b[3][3] = a[2][0] * s[3] - a[2][1] * s[1] + a[2][2] * s[0];
  b[0][1] = b[1][0] = a[0][2] * c[4] - a[0][1] * c[5] - a[0][3] * c[3];
  b[0][2] = b[2][0] = a[3][1] * s[5] - a[3][2] * s[4] + a[3][3] * s[3];
  b[0][3] = b[3][0] = a[2][2] * s[4] - a[2][1] * s[5] - a[2][3] * s[3];
  b[1][2] = b[2][1] = a[3][2] * s[2] - a[3][0] * s[5] - a[3][3] * s[1];
  b[1][3] = b[3][1] = a[2][0] * s[5] - a[2][2] * s[2] + a[2][3] * s[1];
  b[2][3] = b[3][2] = a[2][1] * s[2] - a[2][0] * s[4] - a[2][3] * s[0];
  int best = 0;
  for (int i = 1; i < 4; ++i)
    if (std::fabs(b[i][i]) > std::fabs(b[best][best])) best = i;
  if (!(std::fabs(b[best][best]) > LEAST_ADJUGATE)) return false;
  for (int i = 0; i < 4; ++i) v[i] = b[best][i];
  return true;
}

// One rotation of Jacobi's method: zeroes m[p][q], keeps the eigenvectors in the columns of v.
LBPSI_HD void jacobi_rotate(double m[4][4], double v[4][4], int p, int q)
{
  if (m[p][q] == 0.0) return;
  const double theta = 0.5 * (m[q][q] - m[p][p]) / m[p][q];
  const double t = (theta < 0.0 ? -1.0 : 1.0) / (std::fabs(theta) + std::sqrt(theta * theta + 1.0));
  const double c = 1.0 / std::sqrt(t * t + 1.0), s = t * c;
  for (int k = 0; k < 4; ++k) {
    const double kp = m[k][p], kq = m[k][q];
    m[k][p] = c * kp - s * kq;
    m[k][q] = s * kp + c * kq;
  }
  for (int k = 0; k < 4; ++k) {
    const double pk = m[p][k], qk = m[q][k], vp = v[k][p], vq = v[k][q];
    m[p][k] = c * pk - s * qk;
    m[q][k] = s * pk + c * qk;
    v[k][p] = c * vp - s * vq;
    v[k][q] = s * vp + c * vq;
  }
}

// Largest eigenvalue and its eigenvector where nothing is known of the others; of many eigenvectors
// the one nearest to the identity. Destroys m.
LBPSI_HD double jacobi_vector(double m[4][4], double vector[4])
{
  double v[4][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
  for (int sweep = 0; sweep < MOST_STEPS; ++sweep) {
    double off = 0.0;
    for (int p = 0; p < 4; ++p)
      for (int q = p + 1; q < 4; ++q) off += m[p][q] * m[p][q];
    if (!(off > 1e-40)) break;
    for (int p = 0; p < 4; ++p)
      for (int q = p + 1; q < 4; ++q) jacobi_rotate(m, v, p, q);
  }
  int top = 0;
  for (int i = 1; i < 4; ++i)
    if (m[i][i] > m[top][top]) top = i;
  double nearest[4] = {}, sq = 0.0;
  for (int i = 0; i < 4; ++i) {
    if (m[i][i] < m[top][top] - DEGENERATE) continue;
    for (int k = 0; k < 4; ++k) nearest[k] += v[0][i] * v[k][i];
    sq += v[0][i] * v[0][i];
  }
  for (int k = 0; k < 4; ++k) vector[k] = sq > 1e-20 ? nearest[k] : v[k][top];
  return m[top][top];
}

LBPSI_HD Quaternion normalized(const double v[4])
{
  const double length = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3]);
  const double scale = (v[0] < 0.0 ? -1.0 : 1.0) / length;
  return {scale * v[0], scale * v[1], scale * v[2], scale * v[3]};
}

// From the vectors: a difference of their squares and the eigenvalue has lost what is near zero.
LBPSI_HD double residual(const Quaternion &q, const double *from, const double *to, int n)
{
  const double r[3][3] = {
      {1 - 2 * (q.y * q.y + q.z * q.z), 2 * (q.x * q.y - q.w * q.z), 2 * (q.x * q.z + q.w * q.y)},
      {2 * (q.x * q.y + q.w * q.z), 1 - 2 * (q.x * q.x + q.z * q.z), 2 * (q.y * q.z - q.w * q.x)},
      {2 * (q.x * q.z - q.w * q.y), 2 * (q.y * q.z + q.w * q.x), 1 - 2 * (q.x * q.x + q.y * q.y)}};
  double sum = 0.0;
  for (int k = 0; k < n; ++k)
    for (int a = 0; a < 3; ++a) {
      const double *p = from + 3 * k;
      const double apart = r[a][0] * p[0] + r[a][1] * p[1] + r[a][2] * p[2] - to[3 * k + a];
      sum += apart * apart;
    }
  return std::sqrt(sum / n);
}

// The k-th operation of the ideal unit: a tetrahedron with its vertices on diagonals of the axes,
// or a triangle in the plane of x and y with a vertex on x.
LBPSI_HD Quaternion operation(Symmetry symmetry, int k)
{
  const double cosine[3] = {1.0, 0.5, -0.5};    // of 0, 60 and 120 deg
  const double sine[3] = {0.0, 0.86602540378443864676, 0.86602540378443864676};
  if (symmetry != Symmetry::t)
    return k < 3 ? Quaternion{cosine[k], 0.0, 0.0, sine[k]}
                 : Quaternion{0.0, cosine[k - 3], sine[k - 3], 0.0};
  if (k < 4)
    return {k == 0 ? 1.0 : 0.0, k == 1 ? 1.0 : 0.0, k == 2 ? 1.0 : 0.0, k == 3 ? 1.0 : 0.0};
  return {0.5, k & 1 ? 0.5 : -0.5, k & 2 ? 0.5 : -0.5, k & 4 ? 0.5 : -0.5};
}

LBPSI_HD int order(Symmetry symmetry)
{
  switch (symmetry) {
  case Symmetry::t:
    return 12;
  case Symmetry::d3:
    return 6;
  case Symmetry::c3:
    return 3;
  default:
    return 1;
  }
}

}    // namespace detail

LBPSI_HD Fit kabsch(const double *from, const double *to, int n)
{
  Fit fit;
  double s[3][3], m[4][4], v[4], largest;
  if (detail::correlate(from, to, n, s)) {
    detail::horn_matrix(s, m);
    const detail::Quartic f = detail::characteristic(s, m);
    if (!detail::largest_root(f, largest) || !detail::adjugate_vector(m, largest, v))
      largest = detail::jacobi_vector(m, v);
    fit.rotation = detail::normalized(v);
    // The roots sum to zero: at most one of them lies below minus the largest, and the polynomial
    // is negative above it.
    fit.inverted = detail::value(f, -INVERSION_MARGIN * largest) < 0.0;
  }
  fit.residual = detail::residual(fit.rotation, from, to, n);
  return fit;
}

LBPSI_HD double rotation_angle(const Quaternion &q)
{
  return 2.0 * std::atan2(std::sqrt(q.x * q.x + q.y * q.y + q.z * q.z), std::fabs(q.w));
}

LBPSI_HD void rotation_axis(const Quaternion &q, double axis[3])
{
  const double length = std::sqrt(q.x * q.x + q.y * q.y + q.z * q.z);
  const double scale = length > 0.0 ? (q.w < 0.0 ? -1.0 : 1.0) / length : 0.0;
  axis[0] = scale * q.x;
  axis[1] = scale * q.y;
  axis[2] = scale * q.z;
}

LBPSI_HD Symmetry fit_symmetry(const double *reference, int n, bool pyramid, Quaternion &frame)
{
  frame = Quaternion{};
  if (n == 4) {
    // Even permutations of the vertices are rotations of the ideal unit, odd ones its mirror image.
    const double ideal[2][12] = {{1, 1, 1, 1, -1, -1, -1, 1, -1, -1, -1, 1},
                                 {1, 1, 1, 1, -1, -1, -1, -1, 1, -1, 1, -1}};
    const Fit fits[2] = {kabsch(ideal[0], reference, n), kabsch(ideal[1], reference, n)};
    frame = fits[fits[1].residual < fits[0].residual].rotation;
    return Symmetry::t;
  }
  if (n != 3) return Symmetry::none;
  const double half = 0.5, root = 0.86602540378443864676;
  const double ideal[9] = {1, 0, 0, -half, root, 0, -half, -root, 0};
  // The triangle sums to zero: how far the former is from the plane has no part in the fit.
  frame = kabsch(ideal, reference, n).rotation;
  if (pyramid) return Symmetry::c3;
  double mirrored[9];
  for (int k = 0; k < 9; ++k) mirrored[k] = -reference[k];
  return kabsch(reference, mirrored, n).inverted ? Symmetry::c3 : Symmetry::d3;
}

LBPSI_HD double reduced_angle(const Quaternion &rotation, Symmetry symmetry,
                              const Quaternion &frame)
{
  // the vector alone is turned into the frame: the scalar has no part in it, and would leave a
  // trace
  Quaternion seen = conjugate(frame) * Quaternion{0.0, rotation.x, rotation.y, rotation.z} * frame;
  seen.w = rotation.w;
  Quaternion best = seen;
  for (int k = 1; k < detail::order(symmetry); ++k) {
    const Quaternion product = seen * detail::operation(symmetry, k);
    if (std::fabs(product.w) > std::fabs(best.w)) best = product;
  }
  return rotation_angle(best);
}

}    // namespace lbpsi

#endif
