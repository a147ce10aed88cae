#include "lbpsi/bonds.h"

namespace lbpsi {

void BondGraph::begin(const ChemistryTable &chemistry, const Atoms &atoms)
{
  table = chemistry;
  all = atoms;
  found.clear();
  environments.assign(atoms.owned, Environment{});
}

void BondGraph::meet(int cation, int j, double rsq)
{
  lbpsi::meet(all, table, cation, j, rsq, environments[cation]);
}

void BondGraph::finish()
{
  start.assign(all.owned + 1, 0);
  for (const auto &bond : found) ++start[bond.i + 1];
  for (int i = 0; i < all.owned; ++i) start[i + 1] += start[i];
  bonds.resize(found.size());
  std::vector<int> next(start.begin(), start.end() - 1);
  for (const auto &bond : found) bonds[next[bond.i]++] = bond;
  for (int i = 0; i < all.owned; ++i)
    sort_bonds(all, bonds.data() + start[i], bonds.data() + start[i + 1]);
}

double BondGraph::memory() const
{
  return static_cast<double>((found.capacity() + bonds.capacity()) * sizeof(Bond) +
                             start.capacity() * sizeof(int) +
                             environments.capacity() * sizeof(Environment));
}

}    // namespace lbpsi
