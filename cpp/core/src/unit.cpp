#include "lbpsi/unit.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace lbpsi {

namespace {

constexpr double MOST_ID = 9007199254740992.0;    // 2^53: a double holds all ids below

bool is_unit(const Ligands &ligands)
{
  return ligands.n >= LEAST_LIGANDS && ligands.n <= MOST_LIGANDS;
}

bool same_set(const Ligands &ligands, const std::int64_t *id, int n)
{
  return ligands.n == n && std::equal(id, id + n, ligands.id);
}

// Takes numbers of a record one by one, and none of which the class could come to harm.
class Record {
 public:
  Record(const double *values, int n) : next(values), end(values + n) {}

  double number()
  {
    if (next == end) refuse("its end");
    return *next++;
  }

  std::int64_t whole(double least, double most)
  {
    const double value = number();
    if (!(value >= least && value <= most)) refuse(std::to_string(value));
    return static_cast<std::int64_t>(value);
  }

  int count(double most) { return static_cast<int>(whole(0.0, most)); }

 private:
  const double *next, *end;

  [[noreturn]] static void refuse(const std::string &found)
  {
    throw std::invalid_argument("packed unit: " + found +
                                " is out of place; expected a record that this version wrote");
  }
};

}    // namespace

void UnitReference::refer_to(const Ligands &ligands)
{
  reference = ligands;
  symmetry = fit_symmetry(reference.vector, reference.n, reference.pyramid, frame);
  pending_n = held = 0;
}

bool UnitReference::exchanged(const Ligands &ligands, int hold)
{
  if (ligands.n != reference.n || same_set(ligands, reference.id, reference.n)) {
    pending_n = held = 0;
    return false;
  }
  if (!same_set(ligands, pending, pending_n)) {
    pending_n = ligands.n;
    held = 0;
    std::copy(ligands.id, ligands.id + ligands.n, pending);
  }
  return ++held >= hold;
}

UnitRotation UnitReference::update(const Ligands &ligands, int hold)
{
  if (reference.n == 0) {
    if (is_unit(ligands)) refer_to(ligands);
  } else if (exchanged(ligands, hold)) {
    ++exchanges;
    refer_to(ligands);
  }
  return look(ligands);
}

UnitRotation UnitReference::look(const Ligands &ligands) const
{
  UnitRotation found;
  if (reference.n == 0) return found;
  found.exchanges = exchanges;
  found.state = UnitState::broken;
  if (!same_set(ligands, reference.id, reference.n)) return found;
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

void UnitReference::pack(std::vector<double> &numbers) const
{
  if (reference.n == 0) return;
  const int n = reference.n;
  for (const int count : {n, static_cast<int>(reference.pyramid), exchanges, pending_n, held})
    numbers.push_back(count);
  numbers.insert(numbers.end(), reference.id, reference.id + n);
  numbers.insert(numbers.end(), reference.vector, reference.vector + 3 * n);
  numbers.insert(numbers.end(), pending, pending + pending_n);
}

UnitReference UnitReference::unpack(const double *numbers, int n)
{
  UnitReference unit;
  if (n == 0 || numbers[0] == 0.0) return unit;
  constexpr int most = std::numeric_limits<int>::max();
  Record record(numbers, n);
  Ligands ligands;
  ligands.n = static_cast<int>(record.whole(LEAST_LIGANDS, MOST_LIGANDS));
  ligands.pyramid = record.count(1) == 1;
  const int exchanges = record.count(most), pending_n = record.count(ligands.n);
  const int held = record.count(most);
  for (int k = 0; k < ligands.n; ++k) ligands.id[k] = record.whole(-MOST_ID, MOST_ID);
  for (int k = 0; k < 3 * ligands.n; ++k) ligands.vector[k] = record.number();
  for (int k = 0; k < pending_n; ++k) unit.pending[k] = record.whole(-MOST_ID, MOST_ID);
  unit.refer_to(ligands);
  unit.exchanges = exchanges;
  unit.pending_n = pending_n;
  unit.held = held;
  return unit;
}

}    // namespace lbpsi
