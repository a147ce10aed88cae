#include "bindings.h"

#include "lbpsi/chemistry.h"

namespace py = pybind11;

namespace lbpsi::bindings {

namespace {

const char *name(Role role)
{
  switch (role) {
  case Role::former:
    return "former";
  case Role::sulfur:
    return "sulfur";
  case Role::halide:
    return "halide";
  case Role::cation:
    return "cation";
  case Role::none:
    break;
  }
  return "none";
}

py::dict elements()
{
  py::dict all;
  for (const auto &element : table::ELEMENTS)
    all[element.symbol] = py::make_tuple(element.number, name(element.role), element.charge);
  return all;
}

template <std::size_t N> py::dict cutoffs(const PairCutoff (&pairs)[N])
{
  py::dict all;
  for (const auto &pair : pairs) all[py::str(std::string(pair.a) + "-" + pair.b)] = pair.cutoff;
  return all;
}

}    // namespace

void bind_table(py::module_ &m)
{
  py::tuple names(N_CLASSES);
  for (int k = 0; k < N_CLASSES; ++k) names[k] = table::CLASS_NAMES[k];
  m.attr("CLASS_NAMES") = names;
  m.attr("N_FORMER_CLASSES") = N_FORMER_CLASSES;
  m.attr("CHAIN") = table::CHAIN;
  m.attr("ENVIRONMENT") = table::ENVIRONMENT;
  m.def("elements", &elements, "Atomic number, role and formal charge (e) of each element.");
  m.def(
      "bond_cutoffs", [] { return cutoffs(table::BONDS); },
      "Bond cutoff of each pair, as in 'B-S', in Å.");
  m.def(
      "shell_cutoffs", [] { return cutoffs(table::SHELLS); },
      "Radius of the first shell of cations, as in 'Li-S', in Å.");
}

}    // namespace lbpsi::bindings
