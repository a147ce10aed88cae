#include "lbpsi/neighbors.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

namespace lbpsi {

namespace {

constexpr double FARTHEST = 1e8;    // cells: shifts are int

std::vector<int> first_atoms(int n)
{
  std::vector<int> atoms(n);
  std::iota(atoms.begin(), atoms.end(), 0);
  return atoms;
}

}    // namespace

CellList::CellList(const double *positions, int n, const double *cell, double cutoff) :
    CellList(positions, first_atoms(n), cell, cutoff)
{
}

CellList::CellList(const double *positions, const std::vector<int> &atoms, const double *cell,
                   double cutoff) : cutoff_sq(cutoff * cutoff)
{
  if (!(cutoff > 0.0) || !std::isfinite(cutoff))
    throw std::invalid_argument("cutoff " + std::to_string(cutoff) +
                                " is not positive; expected Å");
  std::copy(cell, cell + 9, lattice);
  const Matrix to_fraction = lbpsi::inverse(
      {{{cell[0], cell[1], cell[2]}, {cell[3], cell[4], cell[5]}, {cell[6], cell[7], cell[8]}}});
  // No more bins than atoms are worth, however thin the gas.
  const int n = static_cast<int>(atoms.size());
  const double most = std::max(1.0, std::cbrt(8.0 * n));
  for (int k = 0; k < 3; ++k) {
    columns[k] = {to_fraction[0][k], to_fraction[1][k], to_fraction[2][k]};
    const double height = 1.0 / norm(columns[k]);
    bins[k] = static_cast<int>(std::clamp(height / cutoff, 1.0, most));
    reach[k] = static_cast<int>(std::ceil(cutoff * bins[k] / height));
  }

  std::vector<Site> wrapped(n);
  std::vector<int> bin(n);
  start.assign(bins[0] * bins[1] * bins[2] + 1, 0);
  for (int i = 0; i < n; ++i) {
    int index[3];
    wrapped[i] = wrap(positions + 3 * atoms[i], atoms[i], index);
    bin[i] = (index[0] * bins[1] + index[1]) * bins[2] + index[2];
    ++start[bin[i] + 1];
  }
  for (std::size_t k = 1; k < start.size(); ++k) start[k] += start[k - 1];
  std::vector<int> next(start.begin(), start.end() - 1);
  sites.resize(n);
  for (int i = 0; i < n; ++i) sites[next[bin[i]]++] = wrapped[i];
}

CellList::Site CellList::wrap(const double *x, int atom, int bin[3]) const
{
  Site site{{x[0], x[1], x[2]}, atom, {0, 0, 0}};
  for (int k = 0; k < 3; ++k) {
    const double fraction = dot({x[0], x[1], x[2]}, columns[k]);
    const double home = std::floor(fraction);
    if (!(std::abs(home) < FARTHEST))
      throw std::invalid_argument("positions of atom " + std::to_string(atom + 1) +
                                  " are not finite or too far from the cell; expected Å");
    site.home[k] = static_cast<int>(home);
    for (int axis = 0; axis < 3; ++axis) site.x[axis] -= home * lattice[3 * k + axis];
    // rounding can make the fraction one
    bin[k] = std::min(static_cast<int>((fraction - home) * bins[k]), bins[k] - 1);
  }
  return site;
}

std::vector<NeighborPair> neighbor_pairs(const double *positions, int n, const double *cell,
                                         double cutoff)
{
  const CellList cells(positions, n, cell, cutoff);
  std::vector<int> start(n + 1, 0);
  cells.for_each_pair([&](int i, int, const int *, const double *) { ++start[i + 1]; });
  for (int i = 0; i < n; ++i) start[i + 1] += start[i];
  std::vector<NeighborPair> pairs(start[n]);
  std::vector<int> next(start.begin(), start.end() - 1);
  cells.for_each_pair([&](int i, int j, const int *shift, const double *d) {
    pairs[next[i]++] = {i, j, {shift[0], shift[1], shift[2]}, {d[0], d[1], d[2]}};
  });
  for (int i = 0; i < n; ++i)
    std::sort(pairs.begin() + start[i], pairs.begin() + start[i + 1],
              [](const NeighborPair &a, const NeighborPair &b) {
                if (a.j != b.j) return a.j < b.j;
                return std::lexicographical_compare(a.shift, a.shift + 3, b.shift, b.shift + 3);
              });
  return pairs;
}

}    // namespace lbpsi
