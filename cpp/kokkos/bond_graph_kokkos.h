// As bonds.h, on the device: the bond graph of a rank's atoms from LAMMPS's neighbors.

#ifndef LBPSI_BOND_GRAPH_KOKKOS_H
#define LBPSI_BOND_GRAPH_KOKKOS_H

#include "arrays_kokkos.h"

#include "lbpsi/bond_rules.h"

#include <cstdint>
#include <vector>

namespace lbpsi::kk {

// A copy of the table of a system.
class DeviceChemistry {
 public:
  void copy(const ChemistryTable &host);
  ChemistryTable view() const;

 private:
  ChemistryTable scalars{};
  Vector<Role> roles;
  Vector<int> numbers;
  Vector<double> bonds, shells;
};

// A copy on the host, for who reads it there.
struct HostGraph {
  std::vector<int> type, start;
  std::vector<std::int64_t> id;
  std::vector<Bond> bonds;
  std::vector<Environment> environments;

  GraphView view(const ChemistryTable &, int owned) const;
  double memory() const;    // bytes
};

class DeviceGraph {
 public:
  // Each pair within Chemistry::reach() whose i is owned is among the
  // neighbors.
  void find(const ChemistryTable &, const Atoms &, const Neighbors &, const Positions &);
  GraphView view() const { return {atoms, table, start.data(), bonds.data(), environments.data()}; }
  void copy_to(HostGraph &, const Vector<int> &type, const Vector<std::int64_t> &id) const;
  double memory() const;    // bytes

 private:
  Atoms atoms{};
  ChemistryTable table{};
  int n_bonds = 0;
  Vector<int> start;    // (owned + 1)
  Vector<Bond> bonds;
  Vector<Environment> environments;    // (owned)
  Matrix<int> kept;                    // (owned, a few): between the two sweeps
};

}    // namespace lbpsi::kk

#endif
