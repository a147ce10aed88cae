// The bond graph of a rank's atoms, and what cations have around them.

#ifndef LBPSI_BONDS_H
#define LBPSI_BONDS_H

#include "lbpsi/chemistry.h"
#include "lbpsi/halo.h"

#include <vector>

namespace lbpsi {

struct Bond {
  int i, j;       // i owned, j owned or ghost
  double d[3];    // from i to j, Å
};

// Order of two places of an atom and its images by their coordinates, Å; 0 where they are one
// place. Images are farther apart than this tells apart, what is added up along two ways is closer.
inline int compare_places(const double *a, const double *b)
{
  constexpr double SAME = 1e-7;
  for (int k = 0; k < 3; ++k)
    if (a[k] < b[k] - SAME || a[k] > b[k] + SAME) return a[k] < b[k] ? -1 : 1;
  return 0;
}

// Contacts of an owned cation.
struct Environment {
  int former = -1;    // nearest within reach, ties to the lower id; -1: none
  double former_sq = 0.0;
  int halides = 0;    // in the first shell
  int others = 0;     // S in the first shell
};

// Fill with begin, then visit() for each ordered pair within Chemistry::reach() whose i is owned,
// in any order, then finish. Each bond then stands at both ends that are owned.
class BondGraph {
 public:
  void begin(const Chemistry &, const Atoms &);
  void visit(int i, int j, double dx, double dy, double dz);
  void finish();

  // Bonds of an owned atom, sorted by the id of the other end, images of it by where they lie.
  const Bond *first(int i) const { return bonds.data() + start[i]; }
  const Bond *last(int i) const { return bonds.data() + start[i + 1]; }
  const Environment &environment(int i) const { return environments[i]; }
  const Chemistry &chemistry() const { return *table; }
  const Atoms &atoms() const { return all; }
  double memory() const;    // bytes

 private:
  const Chemistry *table = nullptr;
  Atoms all{};
  std::vector<Bond> found, bonds;
  std::vector<int> start;    // (owned + 1)
  std::vector<Environment> environments;

  void meet(int cation, int j, int type, int other, double rsq);
};

inline void BondGraph::visit(int i, int j, double dx, double dy, double dz)
{
  const int a = all.type[i], b = all.type[j];
  if (a < 0 || b < 0) return;
  const double rsq = dx * dx + dy * dy + dz * dz;
  if (table->role(a) == Role::cation)
    meet(i, j, a, b, rsq);
  else if (rsq < table->bond_sq(a, b))
    found.push_back({i, j, {dx, dy, dz}});
}

}    // namespace lbpsi

#endif
