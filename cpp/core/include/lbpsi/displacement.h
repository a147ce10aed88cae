// Displacement of one atom since its origin, and its share in the sums of its class.

#ifndef LBPSI_DISPLACEMENT_H
#define LBPSI_DISPLACEMENT_H

#include "lbpsi/chemistry_table.h"
#include "lbpsi/hd.h"
#include "lbpsi/matrix.h"

namespace lbpsi {

// Where a place is in the lattice, which a cell that breathes carries along. corner: of the box;
// to_lattice: inverse of the continuous cell.
LBPSI_HD Vector lattice_coordinate(const Vector &place, const Vector &corner,
                                   const Matrix &to_lattice)
{
  return (place - corner) * to_lattice;
}

// What is kept of an atom: its origin, and from NEXT on the one that the evaluation after this step
// counts from. A class of 0 is not known yet. Of the values the first n are in use: none before the
// atom has an origin, then NEXT or LONGEST.
struct OriginRow {
  enum Entry { X, Y, Z, CLASS, SURVIVES, NEXT, NEXT_CLASS = NEXT + 3, LONGEST };

  int n = 0;
  double values[LONGEST] = {};

  // Numbers that travel and go into restart files: those in use. Returns how many.
  LBPSI_HD int pack(double *numbers) const
  {
    for (int k = 0; k < n; ++k) numbers[k] = values[k];
    return n;
  }
  LBPSI_HD static OriginRow unpack(const double *numbers, int n)
  {
    OriginRow row;
    row.n = n < LONGEST ? n : LONGEST;
    for (int k = 0; k < row.n; ++k) row.values[k] = numbers[k];
    return row;
  }

  LBPSI_HD int cls() const { return static_cast<int>(values[CLASS]); }
  // Whether the class has held at every evaluation since the origin.
  LBPSI_HD bool survives() const { return values[SURVIVES] != 0.0; }
  // mean: cell over the time since the origin.
  LBPSI_HD Vector displacement(const Vector &coordinate, const Matrix &mean) const
  {
    return (coordinate - Vector{{values[X], values[Y], values[Z]}}) * mean;
  }

  LBPSI_HD void start(const Vector &coordinate)
  {
    for (int k = 0; k < 3; ++k) values[X + k] = coordinate[k];
    values[CLASS] = values[SURVIVES] = 0.0;
    n = NEXT;
  }

  LBPSI_HD void meet_class(int cls)
  {
    if (values[CLASS] == 0.0) {
      values[CLASS] = cls;
      values[SURVIVES] = 1.0;
    } else if (values[CLASS] != cls)
      values[SURVIVES] = 0.0;
  }

  // One evaluation, which is the first from a new origin, or the next origin.
  LBPSI_HD void advance(const Vector &coordinate, int cls, bool renewed, bool next_origin)
  {
    if (n == 0)
      start(coordinate);
    else if (renewed && n == LONGEST) {
      for (int k = 0; k < LONGEST - NEXT; ++k) values[X + k] = values[NEXT + k];
      values[SURVIVES] = 1.0;
    }
    n = NEXT;
    meet_class(cls);
    if (!next_origin) return;
    for (int k = 0; k < 3; ++k) values[NEXT + k] = coordinate[k];
    values[NEXT_CLASS] = cls;
    n = LONGEST;
  }
};

// Squared displacements by class. Threads and ranks add up their sums.
struct ClassDisplacements {
  enum Column { ATOMS, MSD, MSD_X, MSD_Y, MSD_Z, SURVIVORS, SURVIVORS_MSD, N_COLUMNS };

  double sums[N_CLASSES * N_COLUMNS] = {};    // of squares in place of means

  // What an atom adds to the sums of its class.
  LBPSI_HD static void terms(const Vector &d, bool survivor, double *columns)
  {
    const double square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    columns[ATOMS] = 1.0;
    columns[MSD] = square;
    for (int k = 0; k < 3; ++k) columns[MSD_X + k] = d[k] * d[k];
    columns[SURVIVORS] = survivor ? 1.0 : 0.0;
    columns[SURVIVORS_MSD] = survivor ? square : 0.0;
  }

  // cls: from 1 to N_CLASSES, at the origin; survivor: it has been the same since.
  LBPSI_HD void add(int cls, const Vector &displacement, bool survivor)
  {
    double columns[N_COLUMNS];
    terms(displacement, survivor, columns);
    for (int k = 0; k < N_COLUMNS; ++k) sums[(cls - 1) * N_COLUMNS + k] += columns[k];
  }

  // Of a class, from 1: the columns above, means 0 where there are no atoms.
  LBPSI_HD void row(int cls, double *columns) const
  {
    const double *sum = &sums[(cls - 1) * N_COLUMNS];
    for (int k = 0; k < N_COLUMNS; ++k) {
      const double count = sum[k == SURVIVORS_MSD ? SURVIVORS : ATOMS];
      const bool is_count = k == ATOMS || k == SURVIVORS;
      columns[k] = is_count ? sum[k] : count > 0.0 ? sum[k] / count : 0.0;
    }
  }
};

}    // namespace lbpsi

#endif
