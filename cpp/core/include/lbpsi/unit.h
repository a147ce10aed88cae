// The reference of one unit, a former with its S, and what became of it since.

#ifndef LBPSI_UNIT_H
#define LBPSI_UNIT_H

#include "lbpsi/bond_rules.h"
#include "lbpsi/hd.h"
#include "lbpsi/kabsch.h"

#include <cstdint>

namespace lbpsi {

constexpr int LEAST_LIGANDS = 3;                     // two may be in line: no rotation about it
constexpr int MOST_LIGANDS = 6;                      // more are no unit
constexpr int MOST_PACKED = 5 + 5 * MOST_LIGANDS;    // numbers of a packed reference
constexpr double DEGREES = 57.29577951308232;        // of a radian

enum class UnitState { none = 0, whole = 1, broken = 2, inverted = 3 };

// Ligands of a former now, sorted by id.
struct Ligands {
  int n = 0;
  std::int64_t id[MOST_LIGANDS];
  double vector[3 * MOST_LIGANDS];    // from the former, Å
  bool pyramid = false;               // bonded to a former besides
};

// Its S; of more than MOST_LIGANDS the first.
LBPSI_HD Ligands ligands_of(const GraphView &graph, int former);

struct UnitRotation {
  // As in the rows of compute kabsch: of each former, and of the units of a class.
  enum Column { ANGLE, REDUCED, AXIS, RESIDUAL = AXIS + 3, STATE, N_COLUMNS };
  enum Field { COUNT, MEAN, RMS, LARGEST, BROKEN, EXCHANGES, INVERTED, N_FIELDS };

  UnitState state = UnitState::none;
  Quaternion rotation;                  // of a whole unit
  double angle = 0.0, reduced = 0.0;    // rad
  double axis[3] = {0.0, 0.0, 0.0};
  double residual = 0.0;    // Å, of a whole or inverted unit
  int exchanges = 0;

  // Angles in degrees.
  LBPSI_HD void columns(double *row) const;
  // What the unit adds to the row of its class, angles in degrees: the angle and its square in
  // place of mean and rms. The largest is not added: the row has the largest of all.
  LBPSI_HD void terms(double *row) const;
};

// A unit is broken while its S differ from the reference's. A new set of the same size that holds
// for `hold` evaluations in a row is one exchange: it is counted, and the ligands of the last of
// these evaluations are the reference from there on. A set of another size never is.
class UnitReference {
 public:
  // One evaluation. Ligands with fewer than LEAST_LIGANDS or more than MOST_LIGANDS (n is then the
  // true number, the arrays hold nothing of use) are no unit: the first set that is one is the
  // reference.
  LBPSI_HD UnitRotation update(const Ligands &, int hold);
  // The rotation again, without counting an evaluation; none before the first reference.
  LBPSI_HD UnitRotation look(const Ligands &) const;

  // Numbers that travel and go into restart files. Returns how many: at most MOST_PACKED, none
  // before the first reference.
  LBPSI_HD int pack(double *numbers) const;
  // From n numbers, zeros behind them allowed; from none or zeros a fresh object. Returns SOUND, or
  // the place of the first number that pack did not write there (n: there are too few), and is then
  // as it was before.
  LBPSI_HD int unpack(const double *numbers, int n);
  static constexpr int SOUND = -1;

 private:
  Ligands reference;
  Symmetry symmetry = Symmetry::none;
  Quaternion frame;
  int exchanges = 0;
  int pending_n = 0, held = 0;    // a new set, and the evaluations that it has held
  std::int64_t pending[MOST_LIGANDS] = {};

  LBPSI_HD void refer_to(const Ligands &);
  // Whether a new set has held long enough to be the reference.
  LBPSI_HD bool exchanged(const Ligands &, int hold);
};

// On the host, as UnitReference::unpack; throws std::invalid_argument for what pack did not write.
UnitReference unpack_unit(const double *numbers, int n);

// --- inline ---------------------------------------------------------------------------------

namespace detail {

constexpr double MOST_ID = 9007199254740992.0;    // 2^53: a double holds all ids below
constexpr double MOST_COUNT = 2147483647.0;       // an int holds these

LBPSI_HD bool is_unit(const Ligands &ligands)
{
  return ligands.n >= LEAST_LIGANDS && ligands.n <= MOST_LIGANDS;
}

LBPSI_HD bool same_set(const Ligands &ligands, const std::int64_t *id, int n)
{
  if (ligands.n != n) return false;
  for (int k = 0; k < n; ++k)
    if (ligands.id[k] != id[k]) return false;
  return true;
}

// Takes numbers of a packed reference one by one, and none of which it could come to harm: from
// the first that is out of place on, zeros.
struct Record {
  const double *numbers;
  int n;
  int at;
  bool sound;

  LBPSI_HD double number()
  {
    sound = sound && at < n;
    return sound ? numbers[at++] : 0.0;
  }

  LBPSI_HD std::int64_t whole(double least, double most)
  {
    const double value = number();
    if (!sound) return 0;
    if (value >= least && value <= most) return static_cast<std::int64_t>(value);
    sound = false;
    --at;
    return 0;
  }

  LBPSI_HD int count(double most) { return static_cast<int>(whole(0.0, most)); }
};

}    // namespace detail

LBPSI_HD Ligands ligands_of(const GraphView &graph, int former)
{
  Ligands ligands;
  for (const Bond *bond = graph.first(former); bond != graph.last(former); ++bond) {
    const Role role = graph.role(bond->j);
    ligands.pyramid |= role == Role::former;
    if (role != Role::sulfur) continue;
    if (ligands.n < MOST_LIGANDS) {
      ligands.id[ligands.n] = graph.atoms.id[bond->j];
      for (int k = 0; k < 3; ++k) ligands.vector[3 * ligands.n + k] = bond->d[k];
    }
    ++ligands.n;
  }
  return ligands;
}

LBPSI_HD void UnitRotation::columns(double *row) const
{
  row[ANGLE] = DEGREES * angle;
  row[REDUCED] = DEGREES * reduced;
  for (int k = 0; k < 3; ++k) row[AXIS + k] = axis[k];
  row[RESIDUAL] = residual;
  row[STATE] = static_cast<int>(state);
}

LBPSI_HD void UnitRotation::terms(double *row) const
{
  const bool whole = state == UnitState::whole;
  const double degrees = whole ? DEGREES * angle : 0.0;
  row[COUNT] = whole;
  row[MEAN] = row[LARGEST] = degrees;
  row[RMS] = degrees * degrees;
  row[BROKEN] = state == UnitState::broken;
  row[EXCHANGES] = exchanges;
  row[INVERTED] = state == UnitState::inverted;
}

LBPSI_HD void UnitReference::refer_to(const Ligands &ligands)
{
  reference = ligands;
  symmetry = fit_symmetry(reference.vector, reference.n, reference.pyramid, frame);
  pending_n = held = 0;
}

LBPSI_HD bool UnitReference::exchanged(const Ligands &ligands, int hold)
{
  if (ligands.n != reference.n || detail::same_set(ligands, reference.id, reference.n)) {
    pending_n = held = 0;
    return false;
  }
  if (!detail::same_set(ligands, pending, pending_n)) {
    pending_n = ligands.n;
    held = 0;
    for (int k = 0; k < ligands.n; ++k) pending[k] = ligands.id[k];
  }
  return ++held >= hold;
}

LBPSI_HD UnitRotation UnitReference::update(const Ligands &ligands, int hold)
{
  if (reference.n == 0) {
    if (detail::is_unit(ligands)) refer_to(ligands);
  } else if (exchanged(ligands, hold)) {
    ++exchanges;
    refer_to(ligands);
  }
  return look(ligands);
}

LBPSI_HD UnitRotation UnitReference::look(const Ligands &ligands) const
{
  UnitRotation found;
  if (reference.n == 0) return found;
  found.exchanges = exchanges;
  found.state = UnitState::broken;
  if (!detail::same_set(ligands, reference.id, reference.n)) return found;
  const Fit fit = kabsch(reference.vector, ligands.vector, reference.n);
  found.residual = fit.residual;
  found.state = fit.inverted ? UnitState::inverted : UnitState::whole;
  if (fit.inverted) return found;
  found.rotation = fit.rotation;
  found.angle = rotation_angle(fit.rotation);
  found.reduced = reduced_angle(fit.rotation, symmetry, frame);
  rotation_axis(fit.rotation, found.axis);
  return found;
}

LBPSI_HD int UnitReference::pack(double *numbers) const
{
  const int n = reference.n;
  if (n == 0) return 0;
  double *next = numbers;
  *next++ = n;
  *next++ = reference.pyramid;
  *next++ = exchanges;
  *next++ = pending_n;
  *next++ = held;
  for (int k = 0; k < n; ++k) *next++ = static_cast<double>(reference.id[k]);
  for (int k = 0; k < 3 * n; ++k) *next++ = reference.vector[k];
  for (int k = 0; k < pending_n; ++k) *next++ = static_cast<double>(pending[k]);
  return static_cast<int>(next - numbers);
}

LBPSI_HD int UnitReference::unpack(const double *numbers, int n)
{
  if (n == 0 || numbers[0] == 0.0) {
    *this = UnitReference();
    return SOUND;
  }
  detail::Record record{numbers, n, 0, true};
  UnitReference read;
  Ligands ligands;
  ligands.n = static_cast<int>(record.whole(LEAST_LIGANDS, MOST_LIGANDS));
  ligands.pyramid = record.count(1) == 1;
  const int past = record.count(detail::MOST_COUNT), other = record.count(ligands.n);
  const int evaluations = record.count(detail::MOST_COUNT);
  for (int k = 0; k < ligands.n; ++k)
    ligands.id[k] = record.whole(-detail::MOST_ID, detail::MOST_ID);
  for (int k = 0; k < 3 * ligands.n; ++k) ligands.vector[k] = record.number();
  for (int k = 0; k < other; ++k) read.pending[k] = record.whole(-detail::MOST_ID, detail::MOST_ID);
  if (!record.sound) return record.at;
  read.refer_to(ligands);
  read.exchanges = past;
  read.pending_n = other;
  read.held = evaluations;
  *this = read;
  return SOUND;
}

}    // namespace lbpsi

#endif
