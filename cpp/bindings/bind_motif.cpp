#include "bindings.h"

#include "lbpsi/bonds.h"
#include "lbpsi/chemistry.h"
#include "lbpsi/motif.h"
#include "lbpsi/neighbors.h"
#include "lbpsi/rings.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

namespace py = pybind11;

namespace lbpsi::bindings {

namespace {

using UserBonds = std::vector<std::tuple<std::string, std::string, double>>;

// Ids travel as doubles in the kernels.
constexpr std::int64_t LARGEST_ID = std::int64_t(1) << 53;

Chemistry make_chemistry(const std::vector<std::string> &symbols, const UserBonds &bonds,
                         std::optional<int> chain, std::optional<double> environment)
{
  Chemistry table(symbols);
  for (const auto &[a, b, cutoff] : bonds) table.set_bond(a, b, cutoff);
  if (chain) table.chain = *chain;
  if (environment) table.environment = *environment;
  if (table.chain < 1)
    throw std::invalid_argument("chain " + std::to_string(table.chain) +
                                " is not positive; expected the fewest B of a network");
  if (!(table.environment > 0.0) || !std::isfinite(table.environment))
    throw std::invalid_argument("environment " + std::to_string(table.environment) +
                                " is not positive; expected the reach of a cation in Å");
  return table;
}

void check_types(const Array<int> &types, int ntypes)
{
  for (py::ssize_t i = 0; i < types.size(); ++i)
    if (types.data()[i] < -1 || types.data()[i] >= ntypes)
      throw std::invalid_argument("types of atom " + std::to_string(i + 1) + " is " +
                                  std::to_string(types.data()[i]) + "; expected -1 to " +
                                  std::to_string(ntypes - 1) + ", an index of symbols");
}

void check_ids(const Array<std::int64_t> &ids)
{
  std::vector<std::int64_t> sorted(ids.data(), ids.data() + ids.size());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end())
    throw std::invalid_argument("ids holds " + std::to_string(*twice) +
                                " more than once; expected an id for each atom");
  if (!sorted.empty() && (sorted.front() < 1 || sorted.back() > LARGEST_ID))
    throw std::invalid_argument(
        "ids holds " + std::to_string(sorted.front() < 1 ? sorted.front() : sorted.back()) +
        "; expected ids from 1 to 2^53");
}

struct Found {
  BondGraph graph;
  MotifAnalysis analysis;
  std::vector<Ring> rings;
};

// Atoms by what is looked for around them: bonds reach half as far as cations do.
struct Parts {
  std::vector<int> bonding, cations, formers, ligands;

  Parts(const Chemistry &table, const Atoms &atoms)
  {
    for (int i = 0; i < atoms.owned; ++i) {
      const Role role = atoms.type[i] < 0 ? Role::none : table.role(atoms.type[i]);
      (role == Role::cation ? cations : bonding).push_back(i);
      if (role == Role::former) formers.push_back(i);
      if (role == Role::sulfur || role == Role::halide) ligands.push_back(i);
    }
  }
};

void visit_contacts(const Chemistry &table, const Atoms &atoms, const double *positions,
                    const double *cell, BondGraph &graph)
{
  // a table without contacts still checks its cell and positions
  constexpr double SHORTEST = 1.0;
  const Parts parts(table, atoms);
  CellList(positions, parts.bonding, cell, std::max(table.longest_bond(), SHORTEST))
      .for_each_pair(
          [&](int i, int j, const int *, const double *d) { graph.visit(i, j, d[0], d[1], d[2]); });
  const auto look_around = [&](const CellList &others, int i) {
    others.for_each_near(positions + 3 * i, i,
                         [&](int j, const double *d) { graph.visit(i, j, d[0], d[1], d[2]); });
  };
  const CellList formers(positions, parts.formers, cell, table.environment);
  for (const int i : parts.cations) look_around(formers, i);
  // the first shell tells only where no former does
  const CellList ligands(positions, parts.ligands, cell, std::max(table.longest_shell(), SHORTEST));
  for (const int i : parts.cations)
    if (graph.environment(i).former < 0) look_around(ligands, i);
}

void find(const Chemistry &table, const Atoms &atoms, const double *positions, const double *cell,
          Found &found)
{
  found.graph.begin(table.view(), atoms);
  visit_contacts(table, atoms, positions, cell, found.graph);
  found.graph.finish();
  Alone alone;
  found.analysis.run(found.graph.view(), {}, alone);
  found.rings = find_rings(found.graph.view());
}

// One array from one field of each row.
template <class T, class Row, class Field>
py::array_t<T> column(const Row *first, const Row *last, Field field)
{
  py::array_t<T> array(last - first);
  std::transform(first, last, array.mutable_data(), field);
  return array;
}

template <class Row> py::array_t<double> vectors(const Row *first, const Row *last)
{
  py::array_t<double> array({py::ssize_t(last - first), py::ssize_t(3)});
  double *to = array.mutable_data();
  for (; first != last; ++first) to = std::copy(first->d, first->d + 3, to);
  return array;
}

// Where the rows of each atom start among those of all.
template <class First> py::array_t<std::int64_t> starts(int n, First first)
{
  py::array_t<std::int64_t> array(n + 1);
  for (int i = 0; i <= n; ++i) array.mutable_data()[i] = first(i) - first(0);
  return array;
}

void put_motifs(const std::vector<Motif> &rows, py::dict &into)
{
  const Motif *first = rows.data(), *last = first + rows.size();
  const auto put = [&](const char *name, auto field) {
    using T = std::decay_t<decltype(field(*first))>;
    into[name] = column<T>(first, last, field);
  };
  put("unit", [](const Motif &row) { return row.unit; });
  put("coordination", [](const Motif &row) { return row.coordination; });
  put("qn", [](const Motif &row) { return row.qn; });
  put("en", [](const Motif &row) { return row.en; });
  put("cls", [](const Motif &row) { return row.cls; });
  put("anion", [](const Motif &row) { return row.anion; });
  put("anion_atoms", [](const Motif &row) { return row.anion_atoms; });
  put("anion_borons", [](const Motif &row) { return row.anion_borons; });
}

void put_links(const MotifAnalysis &analysis, int n, py::dict &into)
{
  const Link *first = analysis.first_link(0), *last = analysis.first_link(n);
  into["link_start"] = starts(n, [&](int i) { return analysis.first_link(i); });
  into["link_id"] = column<std::int64_t>(first, last, [](const Link &link) { return link.id; });
  into["link_type"] = column<int>(first, last, [](const Link &link) { return link.type; });
  into["link_coordination"] =
      column<int>(first, last, [](const Link &link) { return link.coordination; });
  into["link_shared"] = column<int>(first, last, [](const Link &link) { return link.shared; });
  into["link_bonded"] = column<bool>(first, last, [](const Link &link) { return link.bonded; });
}

void put_bonds(const GraphView &graph, int n, py::dict &into)
{
  const Bond *first = graph.first(0), *last = graph.first(n);
  into["bond_start"] = starts(n, [&](int i) { return graph.first(i); });
  into["bond_j"] = column<int>(first, last, [](const Bond &bond) { return bond.j; });
  into["bond_d"] = vectors(first, last);
  py::array_t<int> nearest(n);
  for (int i = 0; i < n; ++i) nearest.mutable_data()[i] = graph.environments[i].former;
  into["li_former"] = nearest;
}

void put_rings(const std::vector<Ring> &rings, py::dict &into)
{
  py::array_t<int> formers({py::ssize_t(rings.size()), py::ssize_t(3)});
  int *to = formers.mutable_data();
  for (const auto &ring : rings) to = std::copy(ring.formers, ring.formers + 3, to);
  into["rings"] = formers;
}

py::dict find_motifs(const Array<double> &positions, const Array<double> &cell,
                     const Array<int> &types, const std::vector<std::string> &symbols,
                     const Array<std::int64_t> &ids, const UserBonds &bonds,
                     std::optional<int> chain, std::optional<double> environment)
{
  check_shape("positions", positions, {-1, 3});
  const int n = static_cast<int>(positions.shape(0));
  check_shape("cell", cell, {3, 3});
  check_shape("types", types, {n});
  check_shape("ids", ids, {n});
  check_types(types, static_cast<int>(symbols.size()));
  check_ids(ids);
  const Chemistry table = make_chemistry(symbols, bonds, chain, environment);

  Found found;
  {
    const double *x = positions.data(), *h = cell.data();
    const Atoms atoms{n, n, types.data(), ids.data()};
    py::gil_scoped_release release;
    find(table, atoms, x, h, found);
  }
  py::dict result;
  put_motifs(found.analysis.motifs(), result);
  put_links(found.analysis, n, result);
  put_bonds(found.graph.view(), n, result);
  put_rings(found.rings, result);
  return result;
}

}    // namespace

void bind_motif(py::module_ &m)
{
  m.def(
      "find_motifs", &find_motifs, py::arg("positions"), py::arg("cell"), py::arg("types"),
      py::arg("symbols"), py::arg("ids"), py::arg("bonds") = UserBonds{},
      py::arg("chain") = py::none(), py::arg("environment") = py::none(),
      "Motifs of one frame as a dict of arrays. types (n,): indices of symbols, -1 leaves an atom "
      "out. Links and bonds of atom i are entries start[i] to start[i + 1] of their arrays; images "
      "of an atom are bonds of their own.");
}

}    // namespace lbpsi::bindings
