// The bond graph of a rank's atoms, and what cations have around them, found on the host.

#ifndef LBPSI_BONDS_H
#define LBPSI_BONDS_H

#include "lbpsi/bond_rules.h"

#include <vector>

namespace lbpsi {

// Fill with begin, then visit() for each ordered pair within Chemistry::reach() whose i is owned,
// in any order, then finish. Each bond then stands at both ends that are owned.
class BondGraph {
 public:
  // What both lead to has to outlive the use of this graph.
  void begin(const ChemistryTable &, const Atoms &);
  void visit(int i, int j, double dx, double dy, double dz);
  void finish();

  // What visits have told so far.
  const Environment &environment(int i) const { return environments[i]; }
  // Of a finished graph, until it begins anew.
  GraphView view() const { return {all, table, start.data(), bonds.data(), environments.data()}; }
  double memory() const;    // bytes

 private:
  Atoms all{};
  ChemistryTable table{};
  std::vector<Bond> found, bonds;
  std::vector<int> start;    // (owned + 1)
  std::vector<Environment> environments;

  void meet(int cation, int j, double rsq);
};

inline void BondGraph::visit(int i, int j, double dx, double dy, double dz)
{
  const double rsq = dx * dx + dy * dy + dz * dz;
  switch (contact(table, all.type[i], all.type[j], rsq)) {
  case Contact::bond:
    found.push_back({i, j, {dx, dy, dz}});
    break;
  case Contact::around:
    meet(i, j, rsq);
    break;
  case Contact::none:
    break;
  }
}

}    // namespace lbpsi

#endif
