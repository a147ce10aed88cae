// Which atoms are formers, sulfur, halides and cations, and how close makes a bond: the table of
// data/motifs.toml for the elements of one system, with the user's own cutoffs.

#ifndef LBPSI_CHEMISTRY_H
#define LBPSI_CHEMISTRY_H

#include <string>
#include <vector>

namespace lbpsi {

enum class Role { none, former, sulfur, halide, cation };

struct Element {
  const char *symbol;
  int number;    // atomic number
  Role role;
  int charge;    // formal, e
};

struct PairCutoff {
  const char *a, *b;
  double cutoff;    // Å
};

}    // namespace lbpsi

#include "lbpsi/table_data.h"

namespace lbpsi {

constexpr int N_CLASSES = sizeof(table::CLASS_NAMES) / sizeof(table::CLASS_NAMES[0]);
// Classes that a former can have; the others are of cations and free anions.
constexpr int N_FORMER_CLASSES = static_cast<int>(MotifClass::other);

// Types count from 0. A type of NULL has no role and no bonds.
class Chemistry {
 public:
  // Throws std::invalid_argument for an element that the table does not have.
  explicit Chemistry(const std::vector<std::string> &symbols);

  // Bond cutoff of a pair, Å. Throws std::invalid_argument for an element that no type is, a pair
  // that can't bond (a cation), or a cutoff that is not positive.
  void set_bond(const std::string &a, const std::string &b, double cutoff);

  int ntypes() const { return static_cast<int>(species.size()); }
  const Element &element(int type) const { return species[type]; }
  Role role(int type) const { return species[type].role; }

  // Squares, 0 where there is no bond or shell.
  double bond_sq(int a, int b) const { return bonds[a * ntypes() + b]; }
  double shell_sq(int a, int b) const { return shells[a * ntypes() + b]; }
  double longest_bond() const;
  // Farthest that any contact reaches: bonds, shells and the environment of cations, Å.
  double reach() const;

  int chain = table::CHAIN;
  double environment = table::ENVIRONMENT;

 private:
  std::vector<Element> species;
  std::vector<double> bonds, shells;    // (ntypes, ntypes)

  void set_square(std::vector<double> &, const PairCutoff &);
};

}    // namespace lbpsi

#endif
