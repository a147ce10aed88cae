#include "lbpsi/motif.h"

#include <algorithm>
#include <stdexcept>

namespace lbpsi {

namespace {

constexpr int BORON = 5, PHOSPHORUS = 15;
// What an S tells of each of its formers: id, type, coordination and where it is from the S.
constexpr int ENTRY = 6;

bool is(const BondGraph &graph, int atom, Role role)
{
  const int type = graph.atoms().type[atom];
  return type >= 0 && graph.chemistry().role(type) == role;
}

bool same(const Link &a, const Link &b) { return a.id == b.id && compare_places(a.d, b.d) == 0; }

Link bonded(const double *d, std::int64_t id, int type, double coordination)
{
  return {id, {d[0], d[1], d[2]}, type, static_cast<int>(coordination), 0, true};
}

Link across(const double *to_sulfur, const double *entry)
{
  const double *on = entry + 3;
  return {static_cast<std::int64_t>(entry[0]),
          {to_sulfur[0] + on[0], to_sulfur[1] + on[1], to_sulfur[2] + on[2]},
          static_cast<int>(entry[1]),
          static_cast<int>(entry[2]),
          1,
          false};
}

// One link a former, from the links over each S. Returns their end.
Link *merge(Link *first, Link *last)
{
  std::sort(first, last, [](const Link &a, const Link &b) { return a.id < b.id; });
  Link *end = first, *images = first;
  for (Link *next = first; next != last; ++next) {
    if (end != first && next->id != end[-1].id) images = end;
    Link *known = std::find_if(images, end, [&](const Link &link) { return same(link, *next); });
    if (known == end)
      *end++ = *next;
    else {
      known->shared += next->shared;
      known->bonded |= next->bonded;
    }
  }
  return end;
}

FormerSummary summarise(const Chemistry &table, int type, const Motif &motif, const Link *link,
                        const Link *last)
{
  FormerSummary former{};
  former.number = table.element(type).number;
  former.coordination = motif.coordination;
  former.borons = motif.anion_borons;
  const bool p = former.number == PHOSPHORUS, b = former.number == BORON;
  for (; link != last; ++link) {
    const int other = table.element(link->type).number;
    if (p && other == PHOSPHORUS) {
      former.p_bond |= link->bonded;
      former.p_edge |= link->shared == 2;
      former.p_corner |= link->shared == 1;
    }
    if (!(p && other == BORON) && !(b && other == PHOSPHORUS)) continue;
    if ((p ? former.coordination : link->coordination) != 4) continue;
    const int boron = p ? link->coordination : former.coordination;
    former.bs4_corner |= boron == 4 && link->shared == 1;
    former.bs4_edge |= boron == 4 && link->shared == 2;
    former.bs3_corner |= boron == 3 && link->shared == 1;
    former.bs3_edge |= boron == 3 && link->shared == 2;
  }
  return former;
}

}    // namespace

void MotifAnalysis::run(const BondGraph &graph, const std::vector<int> &twin, Halo &halo)
{
  rows.assign(graph.atoms().owned, Motif{});
  count_bonds(graph, halo);
  find_links(graph, share_formers(graph, halo));
  join_components(graph, twin);
  label_components(graph.atoms(), halo);
  tally_anions(graph, twin, halo);
  classify_formers(graph, halo);
  classify_others(graph);
}

void MotifAnalysis::count_bonds(const BondGraph &graph, Halo &halo)
{
  const auto &table = graph.chemistry();
  coordinations.assign(graph.atoms().total, 0.0);
  for (int i = 0; i < graph.atoms().owned; ++i) {
    const bool former = is(graph, i, Role::former);
    const auto counted = former ? Role::sulfur : Role::former;
    for (auto bond = graph.first(i); bond != graph.last(i); ++bond)
      rows[i].coordination += is(graph, bond->j, counted);
    if (former)
      rows[i].unit = 10 * table.element(graph.atoms().type[i]).number + rows[i].coordination;
    coordinations[i] = rows[i].coordination;
  }
  halo.forward(coordinations.data(), 1);
}

// Every S tells its formers who else is bonded to it. Returns the width of a row.
int MotifAnalysis::share_formers(const BondGraph &graph, Halo &halo)
{
  const Atoms &atoms = graph.atoms();
  int most = 0;
  for (int i = 0; i < atoms.owned; ++i)
    if (is(graph, i, Role::sulfur)) most = std::max(most, rows[i].coordination);
  const int width = 1 + ENTRY * halo.largest(most);
  formers.assign(static_cast<std::size_t>(atoms.total) * width, 0.0);
  for (int i = 0; i < atoms.owned; ++i) {
    if (!is(graph, i, Role::sulfur)) continue;
    double *row = &formers[static_cast<std::size_t>(i) * width];
    *row++ = rows[i].coordination;
    for (auto bond = graph.first(i); bond != graph.last(i); ++bond) {
      if (!is(graph, bond->j, Role::former)) continue;
      *row++ = static_cast<double>(atoms.id[bond->j]);
      *row++ = atoms.type[bond->j];
      *row++ = coordinations[bond->j];
      row = std::copy(bond->d, bond->d + 3, row);
    }
  }
  halo.forward(formers.data(), width);
  return width;
}

void MotifAnalysis::find_links(const BondGraph &graph, int width)
{
  links.clear();
  link_start.assign(1, 0);
  for (int i = 0; i < graph.atoms().owned; ++i) {
    if (is(graph, i, Role::former)) link(graph, i, width);
    link_start.push_back(static_cast<int>(links.size()));
  }
}

void MotifAnalysis::link(const BondGraph &graph, int former, int width)
{
  const Atoms &atoms = graph.atoms();
  auto &motif = rows[former];
  const Link itself{atoms.id[former], {0.0, 0.0, 0.0}, 0, 0, 0, false};
  const auto begin = links.size();
  for (auto bond = graph.first(former); bond != graph.last(former); ++bond) {
    const int j = bond->j;
    if (is(graph, j, Role::former))
      links.push_back(bonded(bond->d, atoms.id[j], atoms.type[j], coordinations[j]));
    if (!is(graph, j, Role::sulfur)) continue;
    const double *row = &formers[static_cast<std::size_t>(j) * width];
    const double *last = row + 1 + ENTRY * static_cast<int>(row[0]);
    motif.qn += row[0] > 1.0;
    for (const double *entry = row + 1; entry != last; entry += ENTRY) {
      const Link other = across(bond->d, entry);
      if (!same(other, itself)) links.push_back(other);
    }
  }
  links.resize(merge(links.data() + begin, links.data() + links.size()) - links.data());
  for (auto k = begin; k < links.size(); ++k) motif.en += links[k].shared == 2;
}

int MotifAnalysis::root(int i)
{
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

void MotifAnalysis::join(int i, int j)
{
  i = root(i);
  j = root(j);
  parent[std::max(i, j)] = std::min(i, j);
}

void MotifAnalysis::join_components(const BondGraph &graph, const std::vector<int> &twin)
{
  const Atoms &atoms = graph.atoms();
  parent.resize(atoms.total);
  for (int i = 0; i < atoms.total; ++i) parent[i] = i;
  for (int j = atoms.owned; j < atoms.total; ++j) join(j, twin[j]);
  for (int i = 0; i < atoms.owned; ++i)
    for (auto bond = graph.first(i); bond != graph.last(i); ++bond) join(i, bond->j);
}

// The least id of a component reaches all its atoms: within a rank at once, across ranks in as many
// rounds as the anion crosses borders.
void MotifAnalysis::label_components(const Atoms &atoms, Halo &halo)
{
  enum State { SETTLED, UNSETTLED, UNHEARD };
  std::vector<double> told;    // labels here that owners of ghosts have heard of
  labels.resize(atoms.total);
  for (int i = 0; i < atoms.total; ++i) labels[i] = static_cast<double>(atoms.id[i]);
  for (int state = UNSETTLED; state != SETTLED;) {
    for (int i = 0; i < atoms.total; ++i) {
      auto &least = labels[root(i)];
      least = std::min(least, labels[i]);
    }
    for (int i = 0; i < atoms.total; ++i) labels[i] = labels[root(i)];
    const std::vector<double> here = labels;
    halo.forward(labels.data(), 1);
    state = SETTLED;
    for (int j = atoms.owned; j < atoms.total; ++j) {
      if (root(j) >= atoms.owned) continue;
      if (labels[j] != labels[root(j)]) state = std::max<int>(state, UNSETTLED);
      if (!told.empty() && labels[j] > told[j]) state = UNHEARD;
    }
    state = halo.largest(state);
    if (state == UNHEARD)
      throw std::runtime_error("a bond between two ranks is known to one of them only");
    told = here;
  }
}

void MotifAnalysis::tally_anions(const BondGraph &graph, const std::vector<int> &twin, Halo &halo)
{
  const Atoms &atoms = graph.atoms();
  std::vector<Tally> tallies(atoms.owned);    // by root
  for (int i = 0; i < atoms.owned; ++i) {
    auto &tally = tallies[root(i)];
    const int type = atoms.type[i];
    tally.anion = static_cast<std::int64_t>(labels[i]);
    ++tally.atoms;
    tally.formers += is(graph, i, Role::former);
    tally.borons += type >= 0 && graph.chemistry().element(type).number == BORON;
  }
  std::vector<int> spanning;    // roots of components with atoms of other ranks
  for (int j = atoms.owned; j < atoms.total; ++j)
    if (twin[j] == j && root(j) < atoms.owned) spanning.push_back(root(j));
  std::sort(spanning.begin(), spanning.end());
  spanning.erase(std::unique(spanning.begin(), spanning.end()), spanning.end());

  std::vector<Tally> shared;
  for (const int i : spanning) shared.push_back(tallies[i]);
  halo.total(shared);
  for (std::size_t k = 0; k < spanning.size(); ++k) tallies[spanning[k]] = shared[k];

  for (int i = 0; i < atoms.owned; ++i) {
    const auto &tally = tallies[root(i)];
    if (tally.formers == 0) continue;
    rows[i].anion = tally.anion;
    rows[i].anion_atoms = tally.atoms;
    rows[i].anion_borons = tally.borons;
  }
}

void MotifAnalysis::classify_formers(const BondGraph &graph, Halo &halo)
{
  const auto &table = graph.chemistry();
  classes.assign(graph.atoms().total, 0.0);
  for (int i = 0; i < graph.atoms().owned; ++i) {
    if (!is(graph, i, Role::former)) continue;
    const auto former =
        summarise(table, graph.atoms().type[i], rows[i], first_link(i), last_link(i));
    rows[i].cls = static_cast<int>(classify(former, table.chain));
    classes[i] = rows[i].cls;
  }
  halo.forward(classes.data(), 1);
}

void MotifAnalysis::classify_others(const BondGraph &graph)
{
  const auto &atoms = graph.atoms();
  for (int i = 0; i < atoms.owned; ++i) {
    if (atoms.type[i] < 0 || is(graph, i, Role::former) || is(graph, i, Role::none)) continue;
    int code = static_cast<int>(MotifClass::none);
    if (is(graph, i, Role::cation)) {
      const auto &around = graph.environment(i);
      if (around.former >= 0)
        code = static_cast<int>(classes[around.former]);
      else if (around.halides > 0 && around.others == 0)
        code = static_cast<int>(MotifClass::halide);
    } else {
      if (is(graph, i, Role::halide)) code = static_cast<int>(MotifClass::halide);
      for (auto bond = graph.first(i); bond != graph.last(i); ++bond)
        if (is(graph, bond->j, Role::former))
          code = std::min(code, static_cast<int>(classes[bond->j]));
    }
    rows[i].cls = code;
  }
}

double MotifAnalysis::memory() const
{
  const auto reals =
      coordinations.capacity() + formers.capacity() + labels.capacity() + classes.capacity();
  return static_cast<double>(reals * sizeof(double) + rows.capacity() * sizeof(Motif) +
                             links.capacity() * sizeof(Link) +
                             (link_start.capacity() + parent.capacity()) * sizeof(int));
}

}    // namespace lbpsi
