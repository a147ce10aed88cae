// Motifs of a sulfide glass: units, bridging S, Q^n, E^n, classes, and anions as connected
// components. The same code in a process alone and on the ranks of LAMMPS, which differ by their
// Halo.

#ifndef LBPSI_MOTIF_H
#define LBPSI_MOTIF_H

#include "lbpsi/bond_rules.h"
#include "lbpsi/halo.h"
#include "lbpsi/motif_rules.h"

#include <vector>

namespace lbpsi {

// Stores what motif_rules.h tells of each atom, and finds components by union-find.
class MotifAnalysis {
 public:
  // Collective. twin[j] of a ghost: the owned atom of this rank that it is an image of, or j.
  void run(const GraphView &, const std::vector<int> &twin, Halo &);

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
  std::vector<double> formers;          // (total, width) of Told
  std::vector<double> labels;           // (total): least id known of the atom's component
  std::vector<double> classes;          // (total)
  std::vector<int> parent;              // (total): union-find, roots are the least indices

  void count_all_bonds(const GraphView &, Halo &);
  int share_all_formers(const GraphView &, Halo &);
  void find_links(const GraphView &, int width);
  void join_components(const GraphView &, const std::vector<int> &twin);
  void label_components(const Atoms &, Halo &);
  void tally_anions(const GraphView &, const std::vector<int> &twin, Halo &);
  void classify_all(const GraphView &, Halo &);
  int root(int);
  void join(int, int);
};

}    // namespace lbpsi

#endif
