#include "lbpsi/unit.h"

#include <stdexcept>
#include <string>

namespace lbpsi {

UnitReference unpack_unit(const double *numbers, int n)
{
  UnitReference unit;
  const int place = unit.unpack(numbers, n);
  if (place != UnitReference::SOUND)
    throw std::invalid_argument(
        "packed unit: " + (place == n ? std::string("its end") : std::to_string(numbers[place])) +
        " is out of place; expected a record that this version wrote");
  return unit;
}

}    // namespace lbpsi
