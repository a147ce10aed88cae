// Whether atoms are as they were: a sum over them that any change makes another, and no order of
// adding does.

#ifndef LBPSI_FINGERPRINT_H
#define LBPSI_FINGERPRINT_H

#include "lbpsi/hd.h"

#include <cstdint>
#include <cstring>

namespace lbpsi {

// Finaliser of SplitMix64 (Steele et al., OOPSLA 2014): each bit of the word changes half of the
// sum's.
LBPSI_HD std::uint64_t mix(std::uint64_t sum, std::uint64_t word)
{
  std::uint64_t z = (sum ^ word) + 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

LBPSI_HD std::uint64_t mix(std::uint64_t sum, double number)
{
  std::uint64_t word;
  std::memcpy(&word, &number, sizeof word);
  return mix(sum, word);
}

// What the atom at an index adds.
LBPSI_HD std::uint64_t atom_fingerprint(int index, std::int64_t id, int type, int mask,
                                        const double *x)
{
  std::uint64_t sum = mix(static_cast<std::uint64_t>(index), static_cast<std::uint64_t>(id));
  sum = mix(sum, static_cast<std::uint64_t>(type));
  sum = mix(sum, static_cast<std::uint64_t>(mask));
  for (int k = 0; k < 3; ++k) sum = mix(sum, x[k]);
  return sum;
}

}    // namespace lbpsi

#endif
