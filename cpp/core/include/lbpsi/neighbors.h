// Pairs of atoms within a cutoff in a periodic cell of any shape, every image counted.

#ifndef LBPSI_NEIGHBORS_H
#define LBPSI_NEIGHBORS_H

#include "lbpsi/matrix.h"

#include <vector>

namespace lbpsi {

struct NeighborPair {
  int i, j;
  int shift[3];    // cell vectors added to j
  double d[3];     // from i to the image of j, Å
};

// Atoms sorted into bins along the cell vectors.
class CellList {
 public:
  // positions: (n, 3), Å, anywhere; cell: three rows of lattice vectors, Å, of either hand. Throws
  // std::invalid_argument where the cell has no volume, a position is not finite or cutoff is not
  // positive.
  CellList(const double *positions, int n, const double *cell, double cutoff);
  // The same of some of the atoms: indices into positions, as visit gets them.
  CellList(const double *positions, const std::vector<int> &atoms, const double *cell,
           double cutoff);

  // visit(i, j, shift, d) for all ordered pairs (i, image of j) closer than cutoff, an atom's own
  // images included, in no order. shift[3] and d[3] are those of a NeighborPair.
  template <class Visit> void for_each_pair(Visit &&visit) const;

  // visit(j, d) for all images of the atoms closer than cutoff to a point, in no order. d[3] from
  // the point, Å. The number of the point is for the message about one that is not finite.
  template <class Visit> void for_each_near(const double *point, int number, Visit &&visit) const;

 private:
  struct Site {
    double x[3];    // wrapped into the cell
    int atom;
    int home[3];    // cell that the atom was wrapped from
  };
  // A bin, along the first axes or all, and the image of the cell that it is in.
  struct Image {
    int bin;
    int shift[3];
    double move[3];
  };

  double lattice[9], cutoff_sq;
  Matrix columns;    // of the inverse of the cell
  int bins[3], reach[3];
  std::vector<Site> sites;    // by bin
  std::vector<int> start;     // (bins + 1)

  Site wrap(const double *x, int atom, int bin[3]) const;
  Image along(int axis, int index, const Image &before) const;
  template <class Range> void along_row(int from, int to, const Image &row, Range &&range) const;
  template <class Visit> void pair(const Site &, const Site &, const Image &, Visit &) const;
};

// The same as a list, sorted by i, j and shift.
std::vector<NeighborPair> neighbor_pairs(const double *positions, int n, const double *cell,
                                         double cutoff);

template <class Visit>
inline void CellList::pair(const Site &a, const Site &b, const Image &image, Visit &visit) const
{
  const double d[3] = {b.x[0] + image.move[0] - a.x[0], b.x[1] + image.move[1] - a.x[1],
                       b.x[2] + image.move[2] - a.x[2]};
  if (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] >= cutoff_sq) return;
  int shift[3], back[3];
  for (int k = 0; k < 3; ++k) {
    shift[k] = image.shift[k] + a.home[k] - b.home[k];
    back[k] = -shift[k];
  }
  const double reverse[3] = {-d[0], -d[1], -d[2]};
  visit(a.atom, b.atom, shift, d);
  visit(b.atom, a.atom, back, reverse);
}

template <class Visit> void CellList::for_each_pair(Visit &&visit) const
{
  const Image origin{0, {0, 0, 0}, {0.0, 0.0, 0.0}};
  // Each pair of bins once: the offsets that come after zero, and half of a bin with itself.
  for (int x = 0, bin = 0; x < bins[0]; ++x)
    for (int y = 0; y < bins[1]; ++y)
      for (int z = 0; z < bins[2]; ++z, ++bin) {
        const int first = start[bin], last = start[bin + 1];
        if (first == last) continue;
        for (int a = first; a < last; ++a)
          for (int b = a + 1; b < last; ++b) pair(sites[a], sites[b], origin, visit);
        const auto with_others = [&](int from, int to, const Image &image) {
          for (int a = first; a < last; ++a)
            for (int b = from; b < to; ++b) pair(sites[a], sites[b], image, visit);
        };
        for (int u = 0; u <= reach[0]; ++u) {
          const Image plane = along(0, x + u, origin);
          for (int v = u ? -reach[1] : 0; v <= reach[1]; ++v)
            along_row(u || v ? z - reach[2] : z + 1, z + reach[2], along(1, y + v, plane),
                      with_others);
        }
      }
}

template <class Visit>
void CellList::for_each_near(const double *point, int number, Visit &&visit) const
{
  const Image origin{0, {0, 0, 0}, {0.0, 0.0, 0.0}};
  int bin[3];
  const Site here = wrap(point, number, bin);
  const auto look = [&](int from, int to, const Image &image) {
    for (int b = from; b < to; ++b) {
      const double *x = sites[b].x;
      const double d[3] = {x[0] + image.move[0] - here.x[0], x[1] + image.move[1] - here.x[1],
                           x[2] + image.move[2] - here.x[2]};
      if (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < cutoff_sq) visit(sites[b].atom, d);
    }
  };
  for (int u = -reach[0]; u <= reach[0]; ++u) {
    const Image plane = along(0, bin[0] + u, origin);
    for (int v = -reach[1]; v <= reach[1]; ++v)
      along_row(bin[2] - reach[2], bin[2] + reach[2], along(1, bin[1] + v, plane), look);
  }
}

// One axis after the other: bins of a plane and a row share what is before.
inline CellList::Image CellList::along(int axis, int index, const Image &before) const
{
  Image image = before;
  if (index < 0 || index >= bins[axis]) {
    const int n = bins[axis], shift = index >= 0 ? index / n : -((n - 1 - index) / n);
    index -= shift * n;
    image.shift[axis] = shift;
    for (int k = 0; k < 3; ++k) image.move[k] += shift * lattice[3 * axis + k];
  }
  image.bin = before.bin * bins[axis] + index;
  return image;
}

// Bins of a row that follow each other in the same image of the cell hold sites that do.
template <class Range>
inline void CellList::along_row(int from, int to, const Image &row, Range &&range) const
{
  while (from <= to) {
    const Image image = along(2, from, row);
    const int rest = (row.bin + 1) * bins[2] - image.bin;
    const int count = to - from < rest ? to - from + 1 : rest;
    range(start[image.bin], start[image.bin + count], image);
    from += count;
  }
}

}    // namespace lbpsi

#endif
