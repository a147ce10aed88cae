// Pairs of atoms within a cutoff in a periodic cell of any shape, every image counted.

#ifndef LBPSI_NEIGHBORS_H
#define LBPSI_NEIGHBORS_H

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

  // visit(i, j, shift, d) for all ordered pairs (i, image of j) closer than cutoff, an atom's own
  // images included, in no order. shift[3] and d[3] are those of a NeighborPair.
  template <class Visit> void for_each_pair(Visit &&visit) const;

 private:
  struct Site {
    double x[3];    // wrapped into the cell
    int atom;
    int home[3];    // cell that the atom was wrapped from
  };
  // Bins that lie as this one does from the bin at hand, and the image of the cell that they are
  // in.
  struct Image {
    int bin;
    int shift[3];
    double move[3];
  };

  double lattice[9], cutoff_sq;
  int bins[3], reach[3];
  std::vector<Site> sites;    // by bin
  std::vector<int> start;     // (bins + 1)

  Image image(const int bin[3], const int offset[3]) const;
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
  // Each pair of bins once: the offsets that come after zero, and half of a bin with itself.
  for (int x = 0, bin = 0; x < bins[0]; ++x)
    for (int y = 0; y < bins[1]; ++y)
      for (int z = 0; z < bins[2]; ++z, ++bin) {
        const int first = start[bin], last = start[bin + 1], here[3] = {x, y, z};
        if (first == last) continue;
        const Image same{bin, {0, 0, 0}, {0.0, 0.0, 0.0}};
        for (int a = first; a < last; ++a)
          for (int b = a + 1; b < last; ++b) pair(sites[a], sites[b], same, visit);
        for (int u = 0; u <= reach[0]; ++u)
          for (int v = u ? -reach[1] : 0; v <= reach[1]; ++v)
            for (int w = u || v ? -reach[2] : 1; w <= reach[2]; ++w) {
              const int offset[3] = {u, v, w};
              const Image other = image(here, offset);
              for (int b = start[other.bin]; b < start[other.bin + 1]; ++b)
                for (int a = first; a < last; ++a) pair(sites[a], sites[b], other, visit);
            }
      }
}

inline CellList::Image CellList::image(const int bin[3], const int offset[3]) const
{
  Image found{0, {0, 0, 0}, {0.0, 0.0, 0.0}};
  for (int k = 0; k < 3; ++k) {
    int index = bin[k] + offset[k];
    found.shift[k] = index >= 0 ? index / bins[k] : -((bins[k] - 1 - index) / bins[k]);
    index -= found.shift[k] * bins[k];
    found.bin = found.bin * bins[k] + index;
    for (int axis = 0; axis < 3; ++axis) found.move[axis] += found.shift[k] * lattice[3 * k + axis];
  }
  return found;
}

}    // namespace lbpsi

#endif
