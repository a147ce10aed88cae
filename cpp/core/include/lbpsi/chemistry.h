// Which atoms are formers, sulfur, halides and cations, and how close makes a bond: the table of
// data/motifs.toml for the elements of one system, with the user's own cutoffs.

#ifndef LBPSI_CHEMISTRY_H
#define LBPSI_CHEMISTRY_H

#include "lbpsi/chemistry_table.h"

#include <string>
#include <vector>

namespace lbpsi {

// Types count from 0. A type of NULL has no role and no bonds.
class Chemistry {
 public:
  // Throws std::invalid_argument for an element that the table does not have.
  explicit Chemistry(const std::vector<std::string> &symbols);

  // Bond cutoff of a pair, Å. Throws std::invalid_argument for an element that no type is, a pair
  // that can't bond (a cation), or a cutoff that is not positive.
  void set_bond(const std::string &a, const std::string &b, double cutoff);

  // Throws std::invalid_argument where a type's mass, amu, is that of another element: elements in
  // another order than the types would give wrong motifs and forces without a word.
  void require_mass(int type, double mass) const;

  // Of this object as it is now, which has to outlive it.
  ChemistryTable view() const;

  int ntypes() const { return static_cast<int>(roles.size()); }
  Role role(int type) const { return roles[type]; }
  double longest_bond() const;
  // Farthest first shell of a cation, Å.
  double longest_shell() const;
  // Farthest that any contact reaches: bonds, shells and the environment of cations, Å.
  double reach() const;

  int chain = table::CHAIN;
  double environment = table::ENVIRONMENT;

 private:
  std::vector<std::string> symbols;
  std::vector<Role> roles;
  std::vector<int> numbers;
  std::vector<double> bonds, shells;    // (ntypes, ntypes): squares

  void set_square(std::vector<double> &, const PairCutoff &);
};

}    // namespace lbpsi

#endif
