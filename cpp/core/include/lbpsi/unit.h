// The reference of one unit, a former with its S, and what became of it since.

#ifndef LBPSI_UNIT_H
#define LBPSI_UNIT_H

#include "lbpsi/kabsch.h"

#include <cstdint>
#include <vector>

namespace lbpsi {

constexpr int LEAST_LIGANDS = 3;                     // two may be in line: no rotation about it
constexpr int MOST_LIGANDS = 6;                      // more are no unit
constexpr int MOST_PACKED = 5 + 5 * MOST_LIGANDS;    // numbers of a packed reference

enum class UnitState { none = 0, whole = 1, broken = 2, inverted = 3 };

// Ligands of a former now, sorted by id.
struct Ligands {
  int n = 0;
  std::int64_t id[MOST_LIGANDS];
  double vector[3 * MOST_LIGANDS];    // from the former, Å
  bool pyramid = false;               // bonded to a former besides
};

struct UnitRotation {
  UnitState state = UnitState::none;
  Quaternion rotation;                  // of a whole unit
  double angle = 0.0, reduced = 0.0;    // rad
  double axis[3] = {0.0, 0.0, 0.0};
  double residual = 0.0;    // Å, of a whole or inverted unit
  int exchanges = 0;
};

// A unit is broken while its S differ from the reference's. A new set of the same size that holds
// for `hold` evaluations in a row is one exchange: it is counted, and the ligands of the last of
// these evaluations are the reference from there on. A set of another size never is.
class UnitReference {
 public:
  // One evaluation. Ligands with fewer than LEAST_LIGANDS or more than MOST_LIGANDS (n is then the
  // true number, the arrays hold nothing) are no unit: the first set that is one is the reference.
  UnitRotation update(const Ligands &, int hold);
  // The rotation again, without counting an evaluation; none before the first reference.
  UnitRotation look(const Ligands &) const;

  // Append as numbers that travel and go into restart files: at most MOST_PACKED, none before the
  // first reference.
  void pack(std::vector<double> &) const;
  // From n numbers, zeros behind them allowed; from none or zeros a fresh object. Throws
  // std::invalid_argument for what pack did not write.
  static UnitReference unpack(const double *, int n);

 private:
  Ligands reference;
  Symmetry symmetry = Symmetry::none;
  Quaternion frame;
  int exchanges = 0;
  int pending_n = 0, held = 0;    // a new set, and the evaluations that it has held
  std::int64_t pending[MOST_LIGANDS] = {};

  void refer_to(const Ligands &);
  // Whether a new set has held long enough to be the reference.
  bool exchanged(const Ligands &, int hold);
};

}    // namespace lbpsi

#endif
