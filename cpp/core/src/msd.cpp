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

}    // namespace lbpsi
