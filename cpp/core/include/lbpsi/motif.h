// Motifs of a sulfide glass: units, bridging S, Q^n, E^n, classes, and anions as connected
// components. The same code in a process alone and on the ranks of LAMMPS, which differ by their
// Halo.

#ifndef LBPSI_MOTIF_H
#define LBPSI_MOTIF_H

#include "lbpsi/bonds.h"
#include "lbpsi/chemistry.h"
#include "lbpsi/halo.h"
#include "lbpsi/hd.h"

#include <cstdint>
#include <vector>

namespace lbpsi {

// A former as seen from another: over shared S, or by a bond between the two. Images of a former
// are linked each by itself.
struct Link {
  std::int64_t id;
  double d[3];    // to it, Å
  int type;
  int coordination;    // number of its bonded S
  int shared;          // S that are bonded to both
  bool bonded;         // a homopolar bond
};

// What the class of a former follows from.
struct FormerSummary {
  int number;                       // atomic number
  int coordination;                 // bonded S
  bool p_bond, p_edge, p_corner;    // with P, for a P
  bool bs4_corner, bs4_edge;        // PS4 with BS4, seen from either
  bool bs3_corner, bs3_edge;        // PS4 with BS3, seen from either
  std::int64_t borons;              // of its anion
};

// The first class of data/motifs.toml that matches.
LBPSI_HD MotifClass classify(const FormerSummary &former, int chain)
{
  if (former.p_bond) return MotifClass::p2s6_4;
  if (former.p_edge) return MotifClass::p2s6_2;
  if (former.bs4_corner) return MotifClass::ps4_bs4_corner;
  if (former.bs4_edge) return MotifClass::ps4_bs4_edge;
  if (former.bs3_corner) return MotifClass::ps4_bs3_corner;
  if (former.bs3_edge) return MotifClass::ps4_bs3_edge;
  if (former.p_corner) return MotifClass::p2s7;
  if (former.number == 15 && former.coordination == 4) return MotifClass::ps4;
  if (former.borons >= chain) return MotifClass::network;
  if (former.number == 5) return MotifClass::small_borate;
  return MotifClass::other;
}

// Of each owned atom.
struct Motif {
  int unit = 0;            // 10 Z + coordination of a former, as in 154 for PS4; else 0
  int coordination = 0;    // S of a former, formers of an S or halide
  int qn = 0;              // bridging S of a former
  int en = 0;              // formers that share an edge with a former
  int cls = 0;    // MotifClass; of S and bound halides the first of their formers'; 0: left out
  std::int64_t anion = 0;    // least id of its atoms; 0: free
  std::int64_t anion_atoms = 0;
  std::int64_t anion_borons = 0;
};

class MotifAnalysis {
 public:
  // Collective. twin[j] of a ghost: the owned atom of this rank that it is an image of, or j.
  void run(const BondGraph &, const std::vector<int> &twin, Halo &);

  const std::vector<Motif> &motifs() const { return rows; }
  // Formers that an owned former is linked to, sorted by id.
  const Link *first_link(int i) const { return links.data() + link_start[i]; }
  const Link *last_link(int i) const { return links.data() + link_start[i + 1]; }
  double memory() const;    // bytes

 private:
  std::vector<Motif> rows;    // (owned)
  std::vector<Link> links;
  std::vector<int> link_start;          // (owned + 1)
  std::vector<double> coordinations;    // (total)
  std::vector<double> formers;          // (total, width): of each S, number and an entry a former
  std::vector<double> labels;           // (total): least id known of the atom's component
  std::vector<double> classes;          // (total)
  std::vector<int> parent;              // (total): union-find, roots are the least indices

  void count_bonds(const BondGraph &, Halo &);
  int share_formers(const BondGraph &, Halo &);
  void find_links(const BondGraph &, int width);
  void link(const BondGraph &, int former, int width);
  void join_components(const BondGraph &, const std::vector<int> &twin);
  void label_components(const Atoms &, Halo &);
  void tally_anions(const BondGraph &, const std::vector<int> &twin, Halo &);
  void classify_formers(const BondGraph &, Halo &);
  void classify_others(const BondGraph &);
  int root(int);
  void join(int, int);
};

}    // namespace lbpsi

#endif
