// compute kabsch: how far the units of a sulfide glass have turned since a reference.
//
//   compute ID group kabsch motifID [hold n]
//
// Per former of the group: angle and reduced angle (degrees), axis (3), residual (Å), state (0
// none, 1 whole, 2 broken, 3 inverted). Array, a row a class that formers have now: whole units;
// mean, rms and largest angle of these (degrees); broken units; exchanges of these formers so far;
// inverted units.

#ifndef LMP_COMPUTE_KABSCH_H
#define LMP_COMPUTE_KABSCH_H

#include "compute.h"
#include "lbpsi/bond_rules.h"
#include "lbpsi/unit.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class ComputeKabsch : public Compute {
 public:
  // state: the style of the fix that keeps the references
  ComputeKabsch(class LAMMPS *, int, char **, const char *state = "reference/atom");
  ~ComputeKabsch() override;

  void init() override;
  void setup() override;
  void compute_array() override;
  void compute_peratom() override;
  double memory_usage() override;

  struct Unit {
    int cls = 0;    // 0: no former of the group
    lbpsi::UnitRotation rotation;
  };

 protected:
  std::string motif_id;
  int hold;
  int nmax;
  bigint evaluated;           // step of the rotations, -1: none since init
  std::vector<Unit> units;    // (owned)

  void parse(int, char **);
  class ComputeMotif *motif() const;
  bool current() const;
  // Whether an evaluation of bonds of this fingerprint counts, of which the other is then kept.
  bool counts(double fingerprint, std::vector<double> &kept) const;
  lbpsi::UnitRotation rotate(const lbpsi::Ligands &, std::vector<double> &, bool) const;

  virtual void evaluate();
  virtual void sum_units(double *sums, double *largest) const;    // of each class on this rank
  virtual void fill_rows();                                       // of array_atom
};

}    // namespace LAMMPS_NS

#endif
