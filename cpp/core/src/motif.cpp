#include "lbpsi/motif.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace lbpsi {

void MotifAnalysis::run(const GraphView &graph, const std::vector<int> &twin, Halo &halo)
{
  rows.assign(graph.atoms.owned, Motif{});
  count_all_bonds(graph, halo);
  find_links(graph, share_all_formers(graph, halo));
  join_components(graph, twin);
  label_components(graph.atoms, halo);
  tally_anions(graph, twin, halo);
  classify_all(graph, halo);
}

void MotifAnalysis::count_all_bonds(const GraphView &graph, Halo &halo)
{
  coordinations.assign(graph.atoms.total, 0.0);
  for (int i = 0; i < graph.atoms.owned; ++i) {
    count_bonds(graph, i, rows[i]);
    coordinations[i] = rows[i].coordination;
  }
  halo.forward(coordinations.data(), 1);
}

// Returns the width of a row.
int MotifAnalysis::share_all_formers(const GraphView &graph, Halo &halo)
{
  const Atoms &atoms = graph.atoms;
  int most = 0;
  for (int i = 0; i < atoms.owned; ++i)
    if (graph.role(i) == Role::sulfur) most = std::max(most, rows[i].coordination);
  const int width = shared_width(halo.largest(most));
  formers.assign(static_cast<std::size_t>(atoms.total) * width, 0.0);
  for (int i = 0; i < atoms.owned; ++i)
    if (graph.role(i) == Role::sulfur)
      share_formers(graph, coordinations.data(), i, &formers[static_cast<std::size_t>(i) * width]);
  halo.forward(formers.data(), width);
  return width;
}

void MotifAnalysis::find_links(const GraphView &graph, int width)
{
  const Told told{coordinations.data(), formers.data(), width};
  links.clear();
  link_start.assign(1, 0);
  for (int i = 0; i < graph.atoms.owned; ++i) {
    if (graph.role(i) == Role::former) {
      const auto begin = links.size();
      links.resize(begin + most_links(graph, told, i));
      links.resize(begin + link(graph, told, i, rows[i], links.data() + begin));
    }
    link_start.push_back(static_cast<int>(links.size()));
  }
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

void MotifAnalysis::join_components(const GraphView &graph, const std::vector<int> &twin)
{
  const Atoms &atoms = graph.atoms;
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
  // labels here that owners of ghosts have heard of
  std::vector<double> told(atoms.total, std::numeric_limits<double>::infinity());
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
    for (int j = atoms.owned; j < atoms.total; ++j)
      if (root(j) < atoms.owned) state = std::max(state, settling(labels[j], here[j], told[j]));
    state = halo.largest(state);
    if (state == UNHEARD)
      throw std::runtime_error("a bond between two ranks is known to one of them only");
    told = here;
  }
}

void MotifAnalysis::tally_anions(const GraphView &graph, const std::vector<int> &twin, Halo &halo)
{
  const Atoms &atoms = graph.atoms;
  std::vector<Tally> tallies(atoms.owned);    // by root
  for (int i = 0; i < atoms.owned; ++i) {
    const Tally mine = tally(graph, i, labels[i]);
    auto &sum = tallies[root(i)];
    sum.anion = mine.anion;
    sum.atoms += mine.atoms;
    sum.formers += mine.formers;
    sum.borons += mine.borons;
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
  for (int i = 0; i < atoms.owned; ++i) put_anion(tallies[root(i)], rows[i]);
}

void MotifAnalysis::classify_all(const GraphView &graph, Halo &halo)
{
  const int owned = graph.atoms.owned;
  classes.assign(graph.atoms.total, 0.0);
  for (int i = 0; i < owned; ++i) {
    if (graph.role(i) != Role::former) continue;
    rows[i].cls = class_of_former(graph, i, rows[i], first_link(i), last_link(i));
    classes[i] = rows[i].cls;
  }
  halo.forward(classes.data(), 1);
  for (int i = 0; i < owned; ++i)
    if (graph.role(i) != Role::former) rows[i].cls = class_of_other(graph, classes.data(), i);
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
