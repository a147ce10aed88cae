#include "lbpsi/rings.h"

namespace lbpsi {

namespace {

// An image of an atom, seen from another atom.
struct Place {
  int atom;
  double d[3];
};

// From a former over an S to another.
struct Step {
  Place sulfur, former;
};

Place beyond(const Place &from, const Bond &bond)
{
  return {bond.j, {from.d[0] + bond.d[0], from.d[1] + bond.d[1], from.d[2] + bond.d[2]}};
}

// By atom, then by where the image lies: an order that does not depend on where it is seen from.
int compare(const Place &a, const Place &b)
{
  if (a.atom != b.atom) return a.atom < b.atom ? -1 : 1;
  return compare_places(a.d, b.d);
}

// Steps to the formers that come after this one in order.
std::vector<Step> steps_up(const GraphView &graph, const Place &from)
{
  std::vector<Step> steps;
  for (auto bond = graph.first(from.atom); bond != graph.last(from.atom); ++bond) {
    if (graph.role(bond->j) != Role::sulfur) continue;
    const Place sulfur = beyond(from, *bond);
    for (auto next = graph.first(bond->j); next != graph.last(bond->j); ++next) {
      const Place former = beyond(sulfur, *next);
      if (graph.role(next->j) == Role::former && compare(from, former) < 0)
        steps.push_back({sulfur, former});
    }
  }
  return steps;
}

bool bonded(const GraphView &graph, const Place &sulfur, const Place &former)
{
  for (auto bond = graph.first(sulfur.atom); bond != graph.last(sulfur.atom); ++bond)
    if (compare(beyond(sulfur, *bond), former) == 0) return true;
  return false;
}

// Rings whose least former is the one that the steps start from.
void close_rings(const GraphView &graph, const Place &least, const std::vector<Step> &steps,
                 std::vector<Ring> &rings)
{
  for (const auto &one : steps) {
    const auto onward = steps_up(graph, one.former);
    for (const auto &other : steps) {
      const int order = compare(one.former, other.former);
      if (order == 0 && compare(one.sulfur, other.sulfur) < 0)
        rings.push_back({{least.atom, one.former.atom, -1}});
      if (order >= 0 || bonded(graph, one.sulfur, other.former) ||
          bonded(graph, other.sulfur, one.former))
        continue;
      for (const auto &third : onward)
        if (compare(third.former, other.former) == 0 && !bonded(graph, third.sulfur, least))
          rings.push_back({{least.atom, one.former.atom, other.former.atom}});
    }
  }
}

}    // namespace

std::vector<Ring> find_rings(const GraphView &graph)
{
  std::vector<Ring> rings;
  for (int i = 0; i < graph.atoms.owned; ++i) {
    if (graph.role(i) != Role::former) continue;
    const Place least{i, {0.0, 0.0, 0.0}};
    close_rings(graph, least, steps_up(graph, least), rings);
  }
  return rings;
}

}    // namespace lbpsi
