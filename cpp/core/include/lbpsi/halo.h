// Atoms of one rank and how what is known of them reaches the others. In a process alone nobody has
// to be told anything.

#ifndef LBPSI_HALO_H
#define LBPSI_HALO_H

#include <cstdint>
#include <vector>

namespace lbpsi {

// Owned atoms come first, then ghosts: copies of atoms of other ranks, or periodic images.
struct Atoms {
  int owned, total;
  const int *type;           // (total), from 0; -1: the atom is left out
  const std::int64_t *id;    // (total), the same for an atom and its ghosts
};

// Sums over the atoms of one anion.
struct Tally {
  std::int64_t anion;
  std::int64_t atoms;
  std::int64_t formers;
  std::int64_t borons;
};

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
