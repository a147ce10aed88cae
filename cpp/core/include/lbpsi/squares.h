// Squared displacements between pairs of frames, reduced on the way: all of them at once are as
// many as positions times lags.

#ifndef LBPSI_SQUARES_H
#define LBPSI_SQUARES_H

#include <algorithm>
#include <cstdint>

namespace lbpsi {

// Positions (frames, atoms, 3) and the frames at both ends of each displacement.
struct FramePairs {
  const double *positions;
  std::int64_t atoms;
  const std::int64_t *start, *stop;
  std::int64_t number;

  const double *first(std::int64_t pair) const { return positions + 3 * atoms * start[pair]; }
  const double *last(std::int64_t pair) const { return positions + 3 * atoms * stop[pair]; }
};

inline double square_between(const double *from, const double *to)
{
  const double x = to[0] - from[0], y = to[1] - from[1], z = to[2] - from[2];
  return x * x + y * y + z * z;
}

// Mean and variance of each atom's squares. Not from sums of squares and of their squares, whose
// difference is rounding where all displacements are nearly the same.
inline void squares_by_atom(const FramePairs &pairs, double *mean, double *variance)
{
  std::fill(mean, mean + pairs.atoms, 0.0);
  std::fill(variance, variance + pairs.atoms, 0.0);
  for (std::int64_t p = 0; p < pairs.number; ++p) {
    const double *from = pairs.first(p), *to = pairs.last(p);
    const double share = 1.0 / static_cast<double>(p + 1);
    for (std::int64_t i = 0; i < pairs.atoms; ++i) {
      const double square = square_between(from + 3 * i, to + 3 * i);
      const double away = square - mean[i];
      mean[i] += share * away;
      variance[i] += away * (square - mean[i]);
    }
  }
  const double number = static_cast<double>(pairs.number);
  for (std::int64_t i = 0; i < pairs.atoms; ++i) variance[i] /= number;
}

// Sums by class: of ones, squares and their squares, (3, classes), of all displacements and then of
// those during which the class held. cls (frames, atoms): at the origin, from 1; until (frames,
// atoms): the last frame with it.
inline void squares_by_class(const FramePairs &pairs, const std::int8_t *cls,
                             const std::int64_t *until, int classes, double *sums)
{
  std::fill(sums, sums + 6 * classes, 0.0);
  double *held = sums + 3 * classes;
  const auto add = [classes](double *to, int at, double square) {
    to[at] += 1.0;
    to[classes + at] += square;
    to[2 * classes + at] += square * square;
  };
  for (std::int64_t p = 0; p < pairs.number; ++p) {
    const double *from = pairs.first(p), *to = pairs.last(p);
    const std::int64_t row = pairs.atoms * pairs.start[p];
    for (std::int64_t i = 0; i < pairs.atoms; ++i) {
      const double square = square_between(from + 3 * i, to + 3 * i);
      add(sums, cls[row + i] - 1, square);
      if (until[row + i] >= pairs.stop[p]) add(held, cls[row + i] - 1, square);
    }
  }
}

}    // namespace lbpsi

#endif
