// fix reference/atom: numbers that a compute keeps for its atoms, and a few of its own.
//
//   fix ID group reference/atom MOST
//
// Made by a compute, not by users. Rows migrate with their atoms and go into restart files; MOST is
// the length of the longest row.

#ifndef LMP_FIX_REFERENCE_ATOM_H
#define LMP_FIX_REFERENCE_ATOM_H

#include "fix.h"

#include <vector>

namespace LAMMPS_NS {

class FixReferenceAtom : public Fix {
 public:
  FixReferenceAtom(class LAMMPS *, int, char **);
  ~FixReferenceAtom() override;

  // The fix that a compute keeps its state in: ID_reference. Made, or read back from a restart file
  // (restart_reset is then set); deleted with the compute.
  static FixReferenceAtom *create(class LAMMPS *, const char *compute, const char *group, int most,
                                  const char *style = "reference/atom");
  static FixReferenceAtom *find(class LAMMPS *, const char *compute);
  static void destroy(class LAMMPS *, const char *compute);

  std::vector<double> global;               // the same on each rank
  std::vector<std::vector<double>> rows;    // of each atom; empty: none yet

  int setmask() override { return 0; }
  void write_restart(FILE *) override;
  void restart(char *) override;

  void grow_arrays(int) override;
  void copy_arrays(int, int, int) override;
  void set_arrays(int) override;
  int pack_exchange(int, double *) override;
  int unpack_exchange(int, double *) override;
  int pack_restart(int, double *) override;
  void unpack_restart(int, int) override;
  int size_restart(int) override;
  int maxsize_restart() override;
  double memory_usage() override;

 private:
  int most;
};

}    // namespace LAMMPS_NS

#endif
