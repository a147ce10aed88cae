#include "motif_analysis_kokkos.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

// named: nvcc wants kernels that it can name
namespace lbpsi::kk::motifs {

// Returns the most formers of one S.
int count_all(const GraphView &graph, const Vector<Motif> &rows,
              const Matrix<double> &coordinations)
{
  int most = 0;
  Kokkos::parallel_reduce(
      "lbpsi::count", Policy(0, graph.atoms.owned),
      KOKKOS_LAMBDA(const int i, int &largest) {
        Motif motif;
        count_bonds(graph, i, motif);
        rows(i) = motif;
        coordinations(i, 0) = motif.coordination;
        if (graph.role(i) == Role::sulfur && motif.coordination > largest)
          largest = motif.coordination;
      },
      Kokkos::Max<int>(most));
  return std::max(most, 0);    // of no atoms it is the least int
}

void share_all(const GraphView &graph, const Matrix<double> &coordinations,
               const Matrix<double> &formers)
{
  Kokkos::parallel_for(
      "lbpsi::share", Policy(0, graph.atoms.owned), KOKKOS_LAMBDA(const int i) {
        formers(i, 0) = 0.0;
        if (graph.role(i) == Role::sulfur)
          share_formers(graph, coordinations.data(), i, &formers(i, 0));
      });
}

void count_links(const GraphView &graph, const Told &told, const Vector<int> &counts)
{
  Kokkos::parallel_for(
      "lbpsi::count_links", Policy(0, graph.atoms.owned), KOKKOS_LAMBDA(const int i) {
        counts(i) = graph.role(i) == Role::former ? most_links(graph, told, i) : 0;
      });
}

void link_all(const GraphView &graph, const Told &told, const Vector<Motif> &rows,
              const Vector<Link> &links, const Vector<int> &start, const Vector<int> &end)
{
  Kokkos::parallel_for(
      "lbpsi::link", Policy(0, graph.atoms.owned), KOKKOS_LAMBDA(const int i) {
        end(i) = start(i);
        if (graph.role(i) == Role::former)
          end(i) += link(graph, told, i, rows(i), links.data() + start(i));
      });
}

// --- components -----------------------------------------------------------------------------

// Other threads hang roots below others meanwhile: what is found may be none any more.
KOKKOS_INLINE_FUNCTION int root_of(const Vector<int> &parent, int i)
{
  for (;;) {
    const int above = peek(parent(i));
    if (above == i) return i;
    i = above;
  }
}

KOKKOS_INLINE_FUNCTION void join(const Vector<int> &parent, int i, int j)
{
  for (;;) {
    i = root_of(parent, i);
    j = root_of(parent, j);
    if (i == j) return;
    const int least = i < j ? i : j, other = i < j ? j : i;
    if (Kokkos::atomic_compare_exchange(&parent(other), other, least) == other) return;
  }
}

// The way to the root is short from then on: all know it.
void flatten(const Vector<int> &parent, int n)
{
  Kokkos::parallel_for(
      "lbpsi::flatten", Policy(0, n),
      KOKKOS_LAMBDA(const int i) { poke(parent(i), root_of(parent, i)); });
}

void join_all(const GraphView &graph, const Vector<int> &twin, const Vector<int> &parent)
{
  const int owned = graph.atoms.owned, total = graph.atoms.total;
  // a ghost hangs below its twin, which is owned and so has the lesser index
  Kokkos::parallel_for(
      "lbpsi::join_twins", Policy(0, total),
      KOKKOS_LAMBDA(const int i) { parent(i) = i < owned ? i : twin(i); });
  Kokkos::parallel_for(
      "lbpsi::join_bonds", Policy(0, owned), KOKKOS_LAMBDA(const int i) {
        for (const Bond *bond = graph.first(i); bond != graph.last(i); ++bond)
          join(parent, i, bond->j);
      });
  flatten(parent, total);
}

// --- labels ---------------------------------------------------------------------------------

void begin_labels(const Atoms &atoms, const Matrix<double> &labels, const Vector<double> &told)
{
  const double unheard_of = std::numeric_limits<double>::infinity();
  Kokkos::parallel_for(
      "lbpsi::begin_labels", Policy(0, atoms.total), KOKKOS_LAMBDA(const int i) {
        labels(i, 0) = static_cast<double>(atoms.id[i]);
        told(i) = unheard_of;
      });
}

// The least label of each component to all its atoms on this rank.
void spread_labels(int n, const Vector<int> &parent, const Matrix<double> &labels,
                   const Vector<double> &here)
{
  Kokkos::parallel_for(
      "lbpsi::least_label", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        double &least = labels(parent(i), 0);
        if (parent(i) != i && labels(i, 0) < peek(least)) Kokkos::atomic_min(&least, labels(i, 0));
      });
  Kokkos::parallel_for(
      "lbpsi::spread_label", Policy(0, n), KOKKOS_LAMBDA(const int i) {
        here(i) = labels(parent(i), 0);
        if (parent(i) != i) labels(i, 0) = here(i);
      });
}

int settle(const Atoms &atoms, const Vector<int> &parent, const Matrix<double> &labels,
           const Vector<double> &here, const Vector<double> &told)
{
  int state = SETTLED;
  Kokkos::parallel_reduce(
      "lbpsi::settle", Policy(atoms.owned, atoms.total),
      KOKKOS_LAMBDA(const int j, int &worst) {
        if (parent(j) >= atoms.owned) return;
        const int left = settling(labels(j, 0), here(j), told(j));
        if (left > worst) worst = left;
      },
      Kokkos::Max<int>(state));
  return std::max(state, static_cast<int>(SETTLED));    // of no ghosts it is the least int
}

// --- anions ---------------------------------------------------------------------------------

void tally_all(const GraphView &graph, const Vector<int> &parent, const Matrix<double> &labels,
               const Vector<Tally> &tallies, const Vector<int> &spanning)
{
  const int owned = graph.atoms.owned;
  Kokkos::parallel_for(
      "lbpsi::begin_tallies", Policy(0, owned), KOKKOS_LAMBDA(const int i) {
        tallies(i) = {tally(graph, i, labels(i, 0)).anion, 0, 0, 0};
        spanning(i) = 0;
      });
  Kokkos::parallel_for(
      "lbpsi::tally", Policy(0, owned), KOKKOS_LAMBDA(const int i) {
        const Tally mine = tally(graph, i, labels(i, 0));
        Tally &sum = tallies(parent(i));
        Kokkos::atomic_add(&sum.atoms, mine.atoms);
        if (mine.formers) Kokkos::atomic_add(&sum.formers, mine.formers);
        if (mine.borons) Kokkos::atomic_add(&sum.borons, mine.borons);
      });
}

// 1 at roots of components with atoms of other ranks.
void mark_spanning(const Atoms &atoms, const Vector<int> &twin, const Vector<int> &parent,
                   const Vector<int> &spanning)
{
  Kokkos::parallel_for(
      "lbpsi::mark_spanning", Policy(atoms.owned, atoms.total), KOKKOS_LAMBDA(const int j) {
        if (twin(j) == j && parent(j) < atoms.owned) poke(spanning(parent(j)), 1);
      });
}

// Between the tallies by root and those that stand close together, where begin says.
void gather(int owned, const Vector<int> &begin, const Vector<Tally> &tallies,
            const Vector<Tally> &close)
{
  Kokkos::parallel_for(
      "lbpsi::gather_tallies", Policy(0, owned), KOKKOS_LAMBDA(const int i) {
        if (begin(i) != begin(i + 1)) close(begin(i)) = tallies(i);
      });
}

void scatter(int owned, const Vector<int> &begin, const Vector<Tally> &close,
             const Vector<Tally> &tallies)
{
  Kokkos::parallel_for(
      "lbpsi::scatter_tallies", Policy(0, owned), KOKKOS_LAMBDA(const int i) {
        if (begin(i) != begin(i + 1)) tallies(i) = close(begin(i));
      });
}

// --- classes --------------------------------------------------------------------------------

// And the anion of each atom, which the class of a former follows from.
void classify_formers(const GraphView &graph, const Vector<int> &parent,
                      const Vector<Tally> &tallies, const Vector<Link> &links,
                      const Vector<int> &start, const Vector<int> &end, const Vector<Motif> &rows,
                      const Matrix<double> &classes)
{
  Kokkos::parallel_for(
      "lbpsi::classify_formers", Policy(0, graph.atoms.owned), KOKKOS_LAMBDA(const int i) {
        Motif &motif = rows(i);
        put_anion(tallies(parent(i)), motif);
        const Link *all = links.data();
        if (graph.role(i) == Role::former)
          motif.cls = class_of_former(graph, i, motif, all + start(i), all + end(i));
        classes(i, 0) = motif.cls;
      });
}

void classify_others(const GraphView &graph, const Matrix<double> &classes,
                     const Vector<Motif> &rows)
{
  Kokkos::parallel_for(
      "lbpsi::classify_others", Policy(0, graph.atoms.owned), KOKKOS_LAMBDA(const int i) {
        if (graph.role(i) != Role::former) rows(i).cls = class_of_other(graph, classes.data(), i);
      });
}

}    // namespace lbpsi::kk::motifs

namespace lbpsi::kk {

void DeviceMotifs::run(const GraphView &graph, const Vector<int> &twin, DeviceHalo &halo)
{
  grow(rows, graph.atoms.owned);
  grow(parent, graph.atoms.total);
  find_links(graph, share_all_formers(graph, halo));
  motifs::join_all(graph, twin, parent);
  label_components(graph.atoms, halo);
  tally_anions(graph, twin, halo);
  classify_all(graph, halo);
}

// Returns the width of a row.
int DeviceMotifs::share_all_formers(const GraphView &graph, DeviceHalo &halo)
{
  const int total = graph.atoms.total;
  grow(coordinations, total, 1);
  const int most = motifs::count_all(graph, rows, coordinations);
  halo.to_ghosts(coordinations);
  const int width = shared_width(halo.largest(most));
  grow(formers, total, width);
  motifs::share_all(graph, coordinations, formers);
  halo.to_ghosts(formers);
  return width;
}

void DeviceMotifs::find_links(const GraphView &graph, int width)
{
  const Told heard{coordinations.data(), formers.data(), width};
  const int owned = graph.atoms.owned;
  grow(link_start, owned + 1);
  grow(link_end, owned);
  motifs::count_links(graph, heard, link_start);
  grow(links, starts_of(link_start, owned));
  motifs::link_all(graph, heard, rows, links, link_start, link_end);
}

// As MotifAnalysis does.
void DeviceMotifs::label_components(const Atoms &atoms, DeviceHalo &halo)
{
  grow(labels, atoms.total, 1);
  grow(here, atoms.total);
  grow(told, atoms.total);
  motifs::begin_labels(atoms, labels, told);
  for (int state = UNSETTLED; state != SETTLED;) {
    motifs::spread_labels(atoms.total, parent, labels, here);
    halo.to_ghosts(labels);
    state = halo.largest(motifs::settle(atoms, parent, labels, here, told));
    if (state == UNHEARD)
      throw std::runtime_error("a bond between two ranks is known to one of them only");
    std::swap(told, here);
  }
}

void DeviceMotifs::tally_anions(const GraphView &graph, const Vector<int> &twin, DeviceHalo &halo)
{
  const int owned = graph.atoms.owned;
  grow(tallies, owned);
  grow(spanning, owned + 1);
  motifs::tally_all(graph, parent, labels, tallies, spanning);
  motifs::mark_spanning(graph.atoms, twin, parent, spanning);
  const int n = starts_of(spanning, owned);
  Vector<Tally> close;
  grow(close, n);
  if (n) motifs::gather(owned, spanning, tallies, close);
  std::vector<Tally> shared = to_host(close, n);
  halo.total(shared);
  to_device(shared.data(), n, close);
  if (n) motifs::scatter(owned, spanning, close, tallies);
}

void DeviceMotifs::classify_all(const GraphView &graph, DeviceHalo &halo)
{
  grow(classes, graph.atoms.total, 1);
  motifs::classify_formers(graph, parent, tallies, links, link_start, link_end, rows, classes);
  halo.to_ghosts(classes);
  motifs::classify_others(graph, classes, rows);
}

double DeviceMotifs::memory() const
{
  return bytes(rows) + bytes(links) + bytes(link_start) + bytes(link_end) + bytes(coordinations) +
         bytes(formers) + bytes(labels) + bytes(classes) + bytes(here) + bytes(told) +
         bytes(parent) + bytes(tallies) + bytes(spanning);
}

}    // namespace lbpsi::kk
