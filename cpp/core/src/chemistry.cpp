#include "lbpsi/chemistry.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace lbpsi {

namespace {

constexpr Element UNNAMED = {"NULL", 0, 0.0, Role::none, 0};
constexpr double SAME_MASS = 0.25;    // amu: data files round masses, some to integers
constexpr double OTHER_MASS = 0.3;    // amu: more than the natural scatter of an element

Element look_up(const std::string &symbol)
{
  if (symbol == UNNAMED.symbol) return UNNAMED;
  std::string known;
  for (const auto &element : table::ELEMENTS) {
    if (symbol == element.symbol) return element;
    known += std::string(" ") + element.symbol;
  }
  throw std::invalid_argument("unknown element " + symbol + "; expected one of" + known +
                              ", or NULL to leave a type out");
}

double longest(const std::vector<double> &squares)
{
  return squares.empty() ? 0.0 : std::sqrt(*std::max_element(squares.begin(), squares.end()));
}

}    // namespace

Chemistry::Chemistry(const std::vector<std::string> &names) : symbols(names)
{
  for (const auto &symbol : symbols) {
    const Element element = look_up(symbol);
    roles.push_back(element.role);
    numbers.push_back(element.number);
  }
  bonds.assign(symbols.size() * symbols.size(), 0.0);
  shells = bonds;
  for (const auto &pair : table::BONDS) set_square(bonds, pair);
  for (const auto &pair : table::SHELLS) set_square(shells, pair);
}

ChemistryTable Chemistry::view() const
{
  return {ntypes(), roles.data(), numbers.data(), bonds.data(), shells.data(), environment, chain};
}

void Chemistry::set_square(std::vector<double> &squares, const PairCutoff &pair)
{
  for (int i = 0; i < ntypes(); ++i)
    for (int j = 0; j < ntypes(); ++j)
      if (symbols[i] == pair.a && symbols[j] == pair.b)
        squares[i * ntypes() + j] = squares[j * ntypes() + i] = pair.cutoff * pair.cutoff;
}

void Chemistry::require_mass(int type, double mass) const
{
  const Element own = look_up(symbols[type]);
  if (own.number == 0 || std::fabs(mass - own.mass) <= OTHER_MASS) return;
  for (const auto &element : table::ELEMENTS)
    if (std::fabs(mass - element.mass) < SAME_MASS) {
      char number[32];
      std::snprintf(number, sizeof number, "%g", mass);
      throw std::invalid_argument("type " + std::to_string(type + 1) + " has mass " + number +
                                  ", that of " + element.symbol + ", not of " + own.symbol +
                                  "; give the elements in the order of the types");
    }
}

void Chemistry::set_bond(const std::string &a, const std::string &b, double cutoff)
{
  const std::string pair = "bond " + a + " " + b;
  for (const auto &symbol : {a, b}) {
    const auto found = std::find(symbols.begin(), symbols.end(), symbol);
    if (found == symbols.end())
      throw std::invalid_argument(pair + ": no type is " + symbol + "; name one of the elements");
    const Role its = roles[found - symbols.begin()];
    if (its == Role::cation || its == Role::none)
      throw std::invalid_argument(pair + ": " + symbol +
                                  " forms no bonds; expected formers, S and halides");
  }
  if (!(cutoff > 0.0) || !std::isfinite(cutoff))
    throw std::invalid_argument(pair + ": cutoff " + std::to_string(cutoff) +
                                " is not positive; expected Å");
  set_square(bonds, {a.c_str(), b.c_str(), cutoff});
}

double Chemistry::longest_bond() const { return longest(bonds); }

double Chemistry::longest_shell() const { return longest(shells); }

double Chemistry::reach() const
{
  const bool cations = std::find(roles.begin(), roles.end(), Role::cation) != roles.end();
  return std::max({longest_bond(), longest_shell(), cations ? environment : 0.0});
}

}    // namespace lbpsi
