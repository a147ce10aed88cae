// Roles of elements, classes of motifs, and the table of one system as functions of an atom read
// it.

#ifndef LBPSI_CHEMISTRY_TABLE_H
#define LBPSI_CHEMISTRY_TABLE_H

#include "lbpsi/hd.h"

namespace lbpsi {

enum class Role { none, former, sulfur, halide, cation };

struct Element {
  const char *symbol;
  int number;     // atomic number
  double mass;    // amu
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
constexpr int BORON = 5, PHOSPHORUS = 15;

// Types count from 0. What the pointers lead to belongs to somebody else, on the host a Chemistry.
struct ChemistryTable {
  int ntypes;
  const Role *roles;               // (ntypes)
  const int *numbers;              // (ntypes): atomic numbers
  const double *bonds, *shells;    // (ntypes, ntypes): squares, 0 where there is no bond or shell
  double environment;              // reach of a cation, Å
  int chain;                       // fewest B of a network

  LBPSI_HD Role role(int type) const { return roles[type]; }
  LBPSI_HD int number(int type) const { return numbers[type]; }
  LBPSI_HD double bond_sq(int a, int b) const { return bonds[a * ntypes + b]; }
  LBPSI_HD double shell_sq(int a, int b) const { return shells[a * ntypes + b]; }
};

}    // namespace lbpsi

#endif
