#include "lbpsi/msd.h"

#include <cmath>
#include <stdexcept>

namespace lbpsi {

void OriginHistory::start(std::int64_t step, const Matrix &now)
{
  *this = OriginHistory();
  cell = sum = now;
  cells = 1;
  origin = last = step;
}

bool OriginHistory::evaluate(std::int64_t step, const Matrix &now, std::int64_t renew)
{
  const bool renewed = next_origin && step != last;
  if (renewed) {
    sum = continuous_cell();
    cells = 1;
    origin = last;
  }
  follow(now);
  if (step != last) {
    const Matrix seen = continuous_cell();
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) sum[i][j] += seen[i][j];
    ++cells;
    // steps were numbered anew: the origin is as old as it was
    if (step < last) origin += step - last;
    last = step;
  }
  next_origin = renew > 0 && step - origin >= renew;
  return renewed;
}

void OriginHistory::follow(const Matrix &now)
{
  Matrix nearest = continuous_cell() * inverse(now);
  for (auto &row : nearest)
    for (auto &x : row) x = std::rint(x);
  if (std::abs(determinant(nearest)) != 1.0)
    throw std::invalid_argument(
        "the cell is no small strain of the one at the evaluation before; evaluate more often");
  change = nearest;
  cell = now;
}

Matrix OriginHistory::mean_cell() const
{
  Matrix mean = sum;
  for (auto &row : mean)
    for (auto &x : row) x /= static_cast<double>(cells);
  return mean;
}

void OriginHistory::pack(std::vector<double> &numbers) const
{
  for (const auto *matrix : {&change, &cell, &sum})
    for (const auto &row : *matrix) numbers.insert(numbers.end(), row.begin(), row.end());
  for (const auto number : {cells, origin, last}) numbers.push_back(static_cast<double>(number));
  numbers.push_back(next_origin);
}

OriginHistory OriginHistory::unpack(const double *numbers)
{
  OriginHistory history;
  for (auto *matrix : {&history.change, &history.cell, &history.sum})
    for (auto &row : *matrix)
      for (auto &x : row) x = *numbers++;
  for (auto *number : {&history.cells, &history.origin, &history.last})
    *number = static_cast<std::int64_t>(*numbers++);
  history.next_origin = *numbers != 0.0;
  return history;
}

void ClassDisplacements::add(int cls, const Vector &d, bool survivor)
{
  double *sum = &sums[(cls - 1) * N_COLUMNS];
  const double square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
  sum[ATOMS] += 1.0;
  sum[MSD] += square;
  for (int k = 0; k < 3; ++k) sum[MSD_X + k] += d[k] * d[k];
  if (!survivor) return;
  sum[SURVIVORS] += 1.0;
  sum[SURVIVORS_MSD] += square;
}

void ClassDisplacements::row(int cls, double *columns) const
{
  const double *sum = &sums[(cls - 1) * N_COLUMNS];
  const auto mean = [sum](int column, int count) {
    return sum[count] > 0.0 ? sum[column] / sum[count] : 0.0;
  };
  columns[ATOMS] = sum[ATOMS];
  for (int column : {MSD, MSD_X, MSD_Y, MSD_Z}) columns[column] = mean(column, ATOMS);
  columns[SURVIVORS] = sum[SURVIVORS];
  columns[SURVIVORS_MSD] = mean(SURVIVORS_MSD, SURVIVORS);
}

}    // namespace lbpsi
