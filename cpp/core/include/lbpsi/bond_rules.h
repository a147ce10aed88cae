// What makes a bond, what a cation has around it, and the bond graph as functions of an atom read
// it.
//
// A graph is made in two sweeps over the owned atoms and their neighbors j, in any order. contact()
// says what j is to the atom. In the first, bonds are counted, and meet() tells a cation of what is
// around it; sums of the counts are the starts. In the second, the bonds of each atom are put
// there, and sort_bonds() orders them.

#ifndef LBPSI_BOND_RULES_H
#define LBPSI_BOND_RULES_H

#include "lbpsi/chemistry_table.h"
#include "lbpsi/hd.h"

#include <cstdint>

namespace lbpsi {

// Atoms of one rank. Owned atoms come first, then ghosts: copies of atoms of other ranks, or
// periodic images.
struct Atoms {
  int owned, total;
  const int *type;           // (total), from 0; -1: the atom is left out
  const std::int64_t *id;    // (total), the same for an atom and its ghosts
};

struct Bond {
  int i, j;       // i owned, j owned or ghost
  double d[3];    // from i to j, Å
};

// Contacts of an owned cation.
struct Environment {
  int former = -1;    // nearest within reach, ties to the lower id; -1: none
  double former_sq = 0.0;
  int halides = 0;    // in the first shell
  int others = 0;     // S in the first shell
};

// Bonds of an owned atom stand at each end that is owned, sorted by the id of the other end, images
// of it by where they lie.
struct GraphView {
  Atoms atoms;
  ChemistryTable table;
  const int *start;                   // (owned + 1)
  const Bond *bonds;                  // of atom i from start[i] to start[i + 1]
  const Environment *environments;    // (owned)

  LBPSI_HD const Bond *first(int i) const { return bonds + start[i]; }
  LBPSI_HD const Bond *last(int i) const { return bonds + start[i + 1]; }
  LBPSI_HD Role role(int atom) const
  {
    const int type = atoms.type[atom];
    return type < 0 ? Role::none : table.role(type);
  }
};

// Type of an atom in Atoms: -1 where it is outside the group or of no role.
LBPSI_HD int type_if_seen(const ChemistryTable &table, int type, bool member)
{
  return member && table.role(type) != Role::none ? type : -1;
}

// What an atom of type b is to one of type a; around: something that meet() weighs.
enum class Contact { none, bond, around };

LBPSI_HD Contact contact(const ChemistryTable &table, int a, int b, double rsq)
{
  if (a < 0 || b < 0) return Contact::none;
  if (table.role(a) == Role::cation) return Contact::around;
  return rsq < table.bond_sq(a, b) ? Contact::bond : Contact::none;
}

namespace detail {

// Distances that symmetry makes equal differ by rounding, and otherwise on each rank.
constexpr double TIE = 1e-9;
// Images are farther apart than this, Å; what is added up along two ways is closer.
constexpr double SAME_PLACE = 1e-7;

}    // namespace detail

// Atom j is around a cation.
LBPSI_HD void meet(const Atoms &atoms, const ChemistryTable &table, int cation, int j, double rsq,
                   Environment &around)
{
  const int other = atoms.type[j];
  const Role role = table.role(other);
  if (role == Role::former && rsq < table.environment * table.environment) {
    const double slack = detail::TIE * around.former_sq;
    const bool nearer = around.former < 0 || rsq < around.former_sq - slack ||
                        (rsq < around.former_sq + slack && atoms.id[j] < atoms.id[around.former]);
    if (nearer) {
      around.former = j;
      around.former_sq = rsq;
    }
  } else if (rsq < table.shell_sq(atoms.type[cation], other)) {
    if (role == Role::halide)
      ++around.halides;
    else
      ++around.others;
  }
}

LBPSI_HD bool bond_before(const Atoms &atoms, const Bond &a, const Bond &b)
{
  if (atoms.id[a.j] != atoms.id[b.j]) return atoms.id[a.j] < atoms.id[b.j];
  for (int k = 0; k < 3; ++k)
    if (a.d[k] != b.d[k]) return a.d[k] < b.d[k];
  return false;
}

// Those of one atom: few, so by insertion.
LBPSI_HD void sort_bonds(const Atoms &atoms, Bond *first, Bond *last)
{
  for (Bond *next = first; next != last; ++next) {
    const Bond bond = *next;
    Bond *place = next;
    for (; place != first && bond_before(atoms, bond, place[-1]); --place) *place = place[-1];
    *place = bond;
  }
}

// Order of two places of an atom and its images by their coordinates, Å; 0 where they are one
// place.
LBPSI_HD int compare_places(const double *a, const double *b)
{
  for (int k = 0; k < 3; ++k)
    if (a[k] < b[k] - detail::SAME_PLACE || a[k] > b[k] + detail::SAME_PLACE)
      return a[k] < b[k] ? -1 : 1;
  return 0;
}

// A number whose sum over all bonds any motion of them changes.
LBPSI_HD double fingerprint(const Atoms &atoms, const Bond &bond)
{
  const double *d = bond.d;
  const auto weight = static_cast<double>(1 + atoms.id[bond.j] % 13);
  return weight * (d[0] * d[0] + 2.0 * d[1] * d[1] + 3.0 * d[2] * d[2]);
}

}    // namespace lbpsi

#endif
