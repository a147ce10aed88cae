// compute motif: units, bridging S, anions and motif classes of a sulfide glass.
//
//   compute ID group motif elements Li B P S I [bond A B r] [chain n]
//
// Per atom: unit (10 Z + coordination), coordination, Q^n, E^n, class, anion (least id of its
// atoms, 0: free), atoms of the anion. Vector: number of formers in each class of formers.

#ifndef LMP_COMPUTE_MOTIF_H
#define LMP_COMPUTE_MOTIF_H

#include "compute.h"
#include "lbpsi/bonds.h"
#include "lbpsi/chemistry.h"
#include "lbpsi/halo.h"
#include "lbpsi/motif.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class ComputeMotif : public Compute, protected lbpsi::Halo {
 public:
  ComputeMotif(class LAMMPS *, int, char **);
  ~ComputeMotif() override;

  // The compute that another style names.
  static ComputeMotif *find(class LAMMPS *, const char *user, const char *id);
  // Make bonds() and motifs() those of this step. Collective.
  void refresh();
  // Stop where a command between runs has moved or renumbered atoms since the last run. Collective.
  void require_run() const;
  // Stop where a group has no formers.
  void require_formers(const std::string &user, int group) const;

  // Of the last evaluation, on the host; bonds lead to owned and ghost atoms.
  virtual lbpsi::GraphView bonds() { return graph.view(); }
  virtual const std::vector<lbpsi::Motif> &motifs() { return analysis.motifs(); }

  void init() override;
  void init_list(int, class NeighList *) override;
  void compute_vector() override;
  void compute_peratom() override;
  double memory_usage() override;

  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;

 protected:
  std::unique_ptr<lbpsi::Chemistry> chemistry;
  lbpsi::BondGraph graph;
  lbpsi::MotifAnalysis analysis;
  class NeighList *list;
  bigint listed;                 // neighbor->lastcall when the list was built
  std::vector<double> places;    // (total, 3), Å, when the list was built
  int nmax;
  bigint evaluated;                   // step of the motifs, -1: none since init
  bool ended;                         // a run has, since init
  std::uint64_t last_atoms;           // fingerprint of the owned atoms at its end
  std::vector<int> type_of;           // (total), from 0; -1 outside the group
  std::vector<std::int64_t> id_of;    // (total)
  std::vector<int> twin;              // (total)

  // the columns now travelling to ghosts
  struct {
    double *rows;
    int width, begin, count;
  } travelling;

  void parse(int, char **);
  void require_masses() const;
  void require_reach();
  void require_all_pairs();
  bool pair_lists_suffice() const;
  bool current() const;
  std::uint64_t fingerprint() const;
  void evaluate();
  void renew_list();

  // Where the atoms are matters to these.
  virtual std::uint64_t atoms_fingerprint() const;
  virtual bool list_holds() const;
  virtual void build_list();
  virtual void number_atoms();
  virtual void find_bonds();
  virtual void find_motifs();
  virtual void count_formers(double *) const;    // of each class on this rank
  virtual void fill_rows();                      // of array_atom

  void forward(double *, int) override;
  int largest(int) override;
  void total(std::vector<lbpsi::Tally> &) override;
};

}    // namespace LAMMPS_NS

#endif
