// The origin of displacements, in a cell that breathes, shears and flips. What becomes of each atom
// is in displacement.h.

#ifndef LBPSI_MSD_H
#define LBPSI_MSD_H

#include "lbpsi/matrix.h"

#include <cstdint>
#include <vector>

namespace lbpsi {

// The cells that were seen since the origin, and when.
//
// LAMMPS flips a triclinic cell whose tilt passes half a length: the lattice stays, its basis jumps
// by an integer matrix. The integer matrix that takes each basis closest to the one before is that
// jump undone, so that the continuous cell only ever strains a little.
class OriginHistory {
 public:
  static constexpr int PACKED = 31;    // numbers of a packed history

  void start(std::int64_t step, const Matrix &cell);
  // One evaluation; those of one step count once. With renew > 0 an evaluation that many steps or
  // more after the origin is the next origin: the one that follows at another step returns true,
  // counts from there, and atoms have to as well. Throws std::invalid_argument where the cell is no
  // small strain of the one before.
  bool evaluate(std::int64_t step, const Matrix &cell, std::int64_t renew);

  // Whether the last evaluation is the next origin.
  bool is_next_origin() const { return next_origin; }
  // Of the last evaluation, flips undone.
  Matrix continuous_cell() const { return change * cell; }
  // Over the origin and the evaluations since.
  Matrix mean_cell() const;

  // Append as PACKED numbers that go into restart files.
  void pack(std::vector<double> &) const;
  static OriginHistory unpack(const double *);

 private:
  Matrix change = UNIT_MATRIX;    // integers: change * cell is continuous
  Matrix cell = UNIT_MATRIX;      // of the last evaluation, as LAMMPS has it
  Matrix sum{};                   // of continuous cells
  std::int64_t cells = 0;
  std::int64_t origin = 0, last = 0;    // steps
  bool next_origin = false;

  void follow(const Matrix &now);
};

}    // namespace lbpsi

#endif
