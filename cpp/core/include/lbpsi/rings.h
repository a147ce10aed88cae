// Rings of alternating formers and S of four and six members.

#ifndef LBPSI_RINGS_H
#define LBPSI_RINGS_H

#include "lbpsi/bond_rules.h"

#include <vector>

namespace lbpsi {

struct Ring {
  int formers[3];    // atoms, from the least; the third is -1 in a ring of four
};

// Rings without a chord, each once; all atoms owned. A ring of four is two formers that share two S
// (one per pair of S); a ring of six is three formers, each two joined by an S of their own that is
// not bonded to the third. Images of an atom count as atoms of their own: a chain that closes only
// through the periodic cell is no ring.
std::vector<Ring> find_rings(const GraphView &);

}    // namespace lbpsi

#endif
