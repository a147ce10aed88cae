// How what is known of a rank's atoms reaches the others. In a process alone nobody has to be told
// anything.

#ifndef LBPSI_HALO_H
#define LBPSI_HALO_H

#include "lbpsi/motif_rules.h"

#include <vector>

namespace lbpsi {

class Halo {
 public:
  // Copy rows (total, width) of owned atoms to their ghosts.
  virtual void forward(double *rows, int width) = 0;
  // Over all ranks.
  virtual int largest(int mine) = 0;
  // Tallies of anions that may have atoms on several ranks, an anion perhaps several times: each
  // entry becomes the sum over all entries of its anion on all ranks.
  virtual void total(std::vector<Tally> &mine) = 0;

 protected:
  ~Halo() = default;
};

// All atoms are owned.
class Alone final : public Halo {
 public:
  void forward(double *, int) override {}
  int largest(int mine) override { return mine; }
  void total(std::vector<Tally> &) override {}
};

}    // namespace lbpsi

#endif
