#include "lbpsi/bonds.h"

#include <algorithm>

namespace lbpsi {

namespace {

// Distances that symmetry makes equal differ by rounding, and otherwise on each rank.
constexpr double TIE = 1e-9;

}    // namespace

void BondGraph::begin(const Chemistry &chemistry, const Atoms &atoms)
{
  table = &chemistry;
  all = atoms;
  found.clear();
  environments.assign(atoms.owned, Environment{});
}

void BondGraph::meet(int cation, int j, int type, int other, double rsq)
{
  auto &around = environments[cation];
  const Role role = table->role(other);
  if (role == Role::former && rsq < table->environment * table->environment) {
    const double slack = TIE * around.former_sq;
    const bool nearer = around.former < 0 || rsq < around.former_sq - slack ||
                        (rsq < around.former_sq + slack && all.id[j] < all.id[around.former]);
    if (nearer) {
      around.former = j;
      around.former_sq = rsq;
    }
  } else if (rsq < table->shell_sq(type, other)) {
    if (role == Role::halide)
      ++around.halides;
    else
      ++around.others;
  }
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
    std::sort(bonds.begin() + start[i], bonds.begin() + start[i + 1],
              [this](const Bond &a, const Bond &b) {
                if (all.id[a.j] != all.id[b.j]) return all.id[a.j] < all.id[b.j];
                return std::lexicographical_compare(a.d, a.d + 3, b.d, b.d + 3);
              });
}

double BondGraph::memory() const
{
  return static_cast<double>((found.capacity() + bonds.capacity()) * sizeof(Bond) +
                             start.capacity() * sizeof(int) +
                             environments.capacity() * sizeof(Environment));
}

}    // namespace lbpsi
