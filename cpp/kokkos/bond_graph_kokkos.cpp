#include "bond_graph_kokkos.h"

// named: nvcc wants kernels that it can name
namespace lbpsi::kk::graph {

// What stands at both sweeps over neighbors.
struct Sweep {
  ChemistryTable table;
  Atoms atoms;
  Neighbors neighbors;
  Positions x;

  // The bond to a neighbor of an atom, the square of its length, and whether it is one.
  KOKKOS_INLINE_FUNCTION Contact look(int i, int k, Bond &bond, double &rsq) const
  {
    const int j = neighbors.of(i, k) & NEIGHMASK;
    double d[3];
    for (int axis = 0; axis < 3; ++axis)
      d[axis] = static_cast<double>(x(j, axis)) - static_cast<double>(x(i, axis));
    bond = {i, j, {d[0], d[1], d[2]}};
    rsq = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    return contact(table, atoms.type[i], atoms.type[j], rsq);
  }
};

void count(const Sweep &sweep, const Vector<int> &counts, const Vector<Environment> &environments)
{
  Kokkos::parallel_for(
      "lbpsi::clear_bonds", Policy(0, sweep.atoms.owned), KOKKOS_LAMBDA(const int i) {
        counts(i) = 0;
        environments(i) = Environment{};
      });
  Kokkos::parallel_for(
      "lbpsi::count_neighbors", Policy(0, sweep.neighbors.n), KOKKOS_LAMBDA(const int at) {
        const int i = sweep.neighbors.atoms(at);
        if (sweep.atoms.type[i] < 0) return;
        Environment around;
        int n = 0;
        for (int k = 0; k < sweep.neighbors.counts(i); ++k) {
          Bond bond;
          double rsq;
          const Contact what = sweep.look(i, k, bond, rsq);
          if (what == Contact::bond) ++n;
          if (what == Contact::around) meet(sweep.atoms, sweep.table, i, bond.j, rsq, around);
        }
        counts(i) = n;
        environments(i) = around;
      });
}

void fill(const Sweep &sweep, const Vector<int> &start, const Vector<Bond> &bonds)
{
  Kokkos::parallel_for(
      "lbpsi::fill_bonds", Policy(0, sweep.neighbors.n), KOKKOS_LAMBDA(const int at) {
        const int i = sweep.neighbors.atoms(at);
        if (start(i) == start(i + 1)) return;
        Bond *const first = bonds.data() + start(i);
        Bond *last = first;
        for (int k = 0; k < sweep.neighbors.counts(i); ++k) {
          Bond bond;
          double rsq;
          if (sweep.look(i, k, bond, rsq) == Contact::bond) *last++ = bond;
        }
        sort_bonds(sweep.atoms, first, last);
      });
}

}    // namespace lbpsi::kk::graph

namespace lbpsi::kk {

void DeviceChemistry::copy(const ChemistryTable &host)
{
  scalars = host;
  const int n = host.ntypes;
  to_device(host.roles, n, roles);
  to_device(host.numbers, n, numbers);
  to_device(host.bonds, n * n, bonds);
  to_device(host.shells, n * n, shells);
}

ChemistryTable DeviceChemistry::view() const
{
  return {scalars.ntypes, roles.data(),        numbers.data(), bonds.data(),
          shells.data(),  scalars.environment, scalars.chain};
}

GraphView HostGraph::view(const ChemistryTable &table, int owned) const
{
  const Atoms atoms{owned, static_cast<int>(type.size()), type.data(), id.data()};
  return {atoms, table, start.data(), bonds.data(), environments.data()};
}

double HostGraph::memory() const
{
  return static_cast<double>(
      (type.capacity() + start.capacity()) * sizeof(int) + id.capacity() * sizeof(std::int64_t) +
      bonds.capacity() * sizeof(Bond) + environments.capacity() * sizeof(Environment));
}

void DeviceGraph::find(const ChemistryTable &chemistry, const Atoms &all,
                       const Neighbors &neighbors, const Positions &x)
{
  atoms = all;
  table = chemistry;
  grow(start, atoms.owned + 1);
  grow(environments, atoms.owned);
  const graph::Sweep sweep{table, atoms, neighbors, x};
  graph::count(sweep, start, environments);
  n_bonds = starts_of(start, atoms.owned);
  grow(bonds, n_bonds);
  graph::fill(sweep, start, bonds);
}

void DeviceGraph::copy_to(HostGraph &host, const Vector<int> &type,
                          const Vector<std::int64_t> &id) const
{
  host.type = to_host(type, atoms.total);
  host.id = to_host(id, atoms.total);
  host.start = to_host(start, atoms.owned + 1);
  host.bonds = to_host(bonds, n_bonds);
  host.environments = to_host(environments, atoms.owned);
}

double DeviceGraph::memory() const { return bytes(start) + bytes(bonds) + bytes(environments); }

}    // namespace lbpsi::kk
