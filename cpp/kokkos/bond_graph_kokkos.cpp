#include "bond_graph_kokkos.h"

// named: nvcc wants kernels that it can name
namespace lbpsi::kk::graph {

constexpr int KEPT = 6;

// What stands at both sweeps.
struct Sweep {
  ChemistryTable table;
  Atoms atoms;
  Neighbors neighbors;
  Positions x;
  // The first bonds that the first sweep finds of an atom: of few it has to be made only once.
  Matrix<int> kept;

  KOKKOS_INLINE_FUNCTION int neighbor(int i, int k) const { return neighbors.of(i, k) & NEIGHMASK; }

  KOKKOS_INLINE_FUNCTION Bond bond(int i, int j) const
  {
    Bond to{i, j, {}};
    for (int k = 0; k < 3; ++k)
      to.d[k] = static_cast<double>(x(j, k)) - static_cast<double>(x(i, k));
    return to;
  }

  KOKKOS_INLINE_FUNCTION Contact contact_of(const Bond &bond, double &rsq) const
  {
    const double *d = bond.d;
    rsq = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    return contact(table, atoms.type[bond.i], atoms.type[bond.j], rsq);
  }
};

void clear(const Vector<int> &counts, const Vector<Environment> &environments, int n)
{
  Kokkos::parallel_for(
      "lbpsi::clear_bonds", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        counts(i) = 0;
        environments(i) = Environment{};
      });
}

void count(const Sweep &sweep, const Vector<int> &counts, const Vector<Environment> &environments)
{
  Kokkos::parallel_for(
      "lbpsi::count_bonds", Policy(0, sweep.neighbors.n), KOKKOS_LAMBDA(const int at) {
        const int i = sweep.neighbors.atoms(at);
        const int neighbors = sweep.atoms.type[i] < 0 ? 0 : sweep.neighbors.counts(i);
        Environment around;
        int n = 0;
        for (int k = 0; k < neighbors; ++k) {
          const Bond bond = sweep.bond(i, sweep.neighbor(i, k));
          double rsq;
          const Contact what = sweep.contact_of(bond, rsq);
          if (what == Contact::bond) {
            if (n < KEPT) sweep.kept(i, n) = bond.j;
            ++n;
          }
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
        const int n = start(i + 1) - start(i);
        Bond *const first = bonds.data() + start(i);
        if (n <= KEPT) {
          for (int k = 0; k < n; ++k) first[k] = sweep.bond(i, sweep.kept(i, k));
        } else {
          Bond *next = first;
          // another kernel may round a pair at the cutoff to its other side
          for (int k = 0; k < sweep.neighbors.counts(i) && next != first + n; ++k) {
            const Bond bond = sweep.bond(i, sweep.neighbor(i, k));
            double rsq;
            if (sweep.contact_of(bond, rsq) == Contact::bond) *next++ = bond;
          }
        }
        sort_bonds(sweep.atoms, first, first + n);
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
  grow(kept, atoms.owned, graph::KEPT);
  const graph::Sweep sweep{table, atoms, neighbors, x, kept};
  // a list may leave atoms out
  if (neighbors.n < atoms.owned) graph::clear(start, environments, atoms.owned);
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

double DeviceGraph::memory() const
{
  return bytes(start) + bytes(bonds) + bytes(environments) + bytes(kept);
}

}    // namespace lbpsi::kk
