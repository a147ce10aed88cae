#include "bindings.h"

#include "lbpsi/kabsch.h"
#include "lbpsi/unit.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace py = pybind11;

namespace lbpsi::bindings {

namespace {

template <class T> py::array_t<T> empty(std::initializer_list<py::ssize_t> shape)
{
  return py::array_t<T>(std::vector<py::ssize_t>(shape));
}

void check_finite(const char *name, const double *values, py::ssize_t n)
{
  // Zero times a finite number is zero; a plain sum is what compilers vectorise.
  double sum = 0.0;
  for (py::ssize_t i = 0; i < n; ++i) sum += 0.0 * values[i];
  if (sum != 0.0)
    throw std::invalid_argument(std::string(name) + " has a number that is not finite");
}

// Sets of at least `least` vectors each, as (units, vectors, 3).
void check_sets(const char *name, const Array<double> &sets, py::ssize_t least)
{
  check_shape(name, sets, {-1, -1, 3});
  if (sets.shape(1) < least)
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(sets.shape(1)) +
                                " vectors a unit; expected at least " + std::to_string(least));
  check_finite(name, sets.data(), sets.size());
}

void store(const Quaternion &q, double *to)
{
  to[0] = q.w;
  to[1] = q.x;
  to[2] = q.y;
  to[3] = q.z;
}

py::dict fit_all(const Array<double> &reference, const Array<double> &current)
{
  check_sets("reference", reference, LEAST_VECTORS);
  check_sets("current", current, LEAST_VECTORS);
  const py::ssize_t n = reference.shape(0), k = reference.shape(1);
  check_shape("current", current, {n, k, 3});
  auto quaternion = empty<double>({n, 4});
  auto angle = empty<double>({n}), residual = empty<double>({n});
  auto inverted = empty<bool>({n});
  const double *from = reference.data(), *to = current.data();
  double *q = quaternion.mutable_data(), *a = angle.mutable_data(), *r = residual.mutable_data();
  bool *mirror = inverted.mutable_data();
  {
    py::gil_scoped_release release;
    for (py::ssize_t i = 0; i < n; ++i) {
      const Fit fit = kabsch(from + 3 * k * i, to + 3 * k * i, static_cast<int>(k));
      store(fit.rotation, q + 4 * i);
      a[i] = rotation_angle(fit.rotation);
      r[i] = fit.residual;
      mirror[i] = fit.inverted;
    }
  }
  py::dict found;
  found["quaternion"] = quaternion;
  found["angle"] = angle;
  found["residual"] = residual;
  found["inverted"] = inverted;
  return found;
}

py::array_t<double> reduce_all(const Array<double> &quaternion, const Array<double> &reference,
                               const Array<bool> &pyramid)
{
  check_sets("reference", reference, LEAST_VECTORS);
  const py::ssize_t n = reference.shape(0), k = reference.shape(1);
  check_shape("quaternion", quaternion, {n, 4});
  check_finite("quaternion", quaternion.data(), quaternion.size());
  check_shape("pyramid", pyramid, {n});
  auto reduced = empty<double>({n});
  const double *q = quaternion.data(), *from = reference.data();
  const bool *apex = pyramid.data();
  double *least = reduced.mutable_data();
  {
    py::gil_scoped_release release;
    for (py::ssize_t i = 0; i < n; ++i, q += 4) {
      Quaternion frame;
      const auto symmetry = fit_symmetry(from + 3 * k * i, static_cast<int>(k), apex[i], frame);
      least[i] = reduced_angle({q[0], q[1], q[2], q[3]}, symmetry, frame);
    }
  }
  return reduced;
}

// Units in a row, each with its reference.
class UnitReferences {
 public:
  UnitReferences(py::ssize_t n, int hold_) : units(checked(n)), hold(hold_)
  {
    if (hold < 1)
      throw std::invalid_argument("hold " + std::to_string(hold) + "; expected at least 1");
  }

  static UnitReferences unpacked(const std::vector<std::vector<double>> &rows, int hold)
  {
    UnitReferences all(static_cast<py::ssize_t>(rows.size()), hold);
    for (std::size_t i = 0; i < rows.size(); ++i)
      all.units[i] = unpack_unit(rows[i].data(), static_cast<int>(rows[i].size()));
    return all;
  }

  std::vector<std::vector<double>> packed() const
  {
    std::vector<std::vector<double>> rows(units.size());
    double numbers[MOST_PACKED];
    for (std::size_t i = 0; i < units.size(); ++i)
      rows[i].assign(numbers, numbers + units[i].pack(numbers));
    return rows;
  }

  using Start = Array<std::int64_t>;
  py::dict update(const Start &start, const Start &ids, const Array<double> &vectors,
                  const Array<bool> &pyramid)
  {
    return evaluate(start, ids, vectors, pyramid, [this](std::size_t i, const Ligands &ligands) {
      return units[i].update(ligands, hold);
    });
  }

  py::dict look(const Start &start, const Start &ids, const Array<double> &vectors,
                const Array<bool> &pyramid) const
  {
    return evaluate(start, ids, vectors, pyramid, [this](std::size_t i, const Ligands &ligands) {
      return units[i].look(ligands);
    });
  }

 private:
  std::vector<UnitReference> units;
  int hold;

  static std::size_t checked(py::ssize_t n)
  {
    if (n < 0)
      throw std::invalid_argument(std::to_string(n) + " units; expected a number from 0 upwards");
    return static_cast<std::size_t>(n);
  }

  void check(const Start &start, const Start &ids, const Array<double> &vectors,
             const Array<bool> &pyramid) const
  {
    const auto n = static_cast<py::ssize_t>(units.size()), m = ids.size();
    check_shape("start", start, {n + 1});
    check_shape("ids", ids, {-1});
    check_shape("vectors", vectors, {m, 3});
    check_shape("pyramid", pyramid, {n});
    check_finite("vectors", vectors.data(), vectors.size());
    const std::int64_t *first = start.data(), *id = ids.data();
    if (first[0] != 0 || first[n] != m || !std::is_sorted(first, first + n + 1))
      throw std::invalid_argument("start does not rise from 0 to the " + std::to_string(m) +
                                  " ids; expected where the ligands of each unit begin");
    for (py::ssize_t i = 0; i < n; ++i)
      if (!std::is_sorted(id + first[i], id + first[i + 1]))
        throw std::invalid_argument("ids of unit " + std::to_string(i) +
                                    " are not sorted; expected rising ids in each unit");
  }

  template <class Evaluate>
  py::dict evaluate(const Start &start, const Start &ids, const Array<double> &vectors,
                    const Array<bool> &pyramid, Evaluate one) const
  {
    check(start, ids, vectors, pyramid);
    std::vector<UnitRotation> rows(units.size());
    const std::int64_t *first = start.data(), *id = ids.data();
    const double *vector = vectors.data();
    const bool *apex = pyramid.data();
    {
      py::gil_scoped_release release;
      for (std::size_t i = 0; i < rows.size(); ++i)
        rows[i] =
            one(i, gather(id + first[i], vector + 3 * first[i], first[i + 1] - first[i], apex[i]));
    }
    return columns(rows);
  }

  static Ligands gather(const std::int64_t *id, const double *vector, std::int64_t n, bool pyramid)
  {
    Ligands ligands;
    ligands.n = static_cast<int>(n);
    ligands.pyramid = pyramid;
    if (n > MOST_LIGANDS) return ligands;
    std::copy(id, id + n, ligands.id);
    std::copy(vector, vector + 3 * n, ligands.vector);
    return ligands;
  }

  static py::dict columns(const std::vector<UnitRotation> &rows)
  {
    const auto n = static_cast<py::ssize_t>(rows.size());
    auto state = empty<int>({n}), exchanges = empty<int>({n});
    auto angle = empty<double>({n}), reduced = empty<double>({n}), residual = empty<double>({n});
    auto axis = empty<double>({n, 3}), quaternion = empty<double>({n, 4});
    for (py::ssize_t i = 0; i < n; ++i) {
      const UnitRotation &row = rows[static_cast<std::size_t>(i)];
      state.mutable_data()[i] = static_cast<int>(row.state);
      exchanges.mutable_data()[i] = row.exchanges;
      angle.mutable_data()[i] = row.angle;
      reduced.mutable_data()[i] = row.reduced;
      residual.mutable_data()[i] = row.residual;
      std::copy(row.axis, row.axis + 3, axis.mutable_data() + 3 * i);
      store(row.rotation, quaternion.mutable_data() + 4 * i);
    }
    py::dict found;
    found["state"] = state;
    found["angle"] = angle;
    found["reduced"] = reduced;
    found["axis"] = axis;
    found["residual"] = residual;
    found["exchanges"] = exchanges;
    found["quaternion"] = quaternion;
    return found;
  }
};

}    // namespace

void bind_kabsch(py::module_ &m)
{
  m.def("kabsch", &fit_all, py::arg("reference"), py::arg("current"),
        "Best proper rotations of n units of k labelled vectors, reference onto current, both "
        "(n, k, 3) and taken as they are (no centring). A dict of quaternion (n, 4) as w, x, y, z "
        "with w >= 0, angle (n,) in rad, residual (n,) as root mean square in the unit of the "
        "vectors, and inverted (n,): whether an improper rotation fits clearly better. ValueError "
        "for other shapes, fewer than two vectors, or numbers that are not finite.");
  m.def("reduced_angle", &reduce_all, py::arg("quaternion"), py::arg("reference"),
        py::arg("pyramid"),
        "Least angle (n,) in rad of the rotations (n, 4) times the proper symmetry operations of "
        "the ideal units fitted to the references (n, k, 3): T of four vectors, C3 of three where "
        "pyramid (n,) says so or the reference is no plane, else D3; of other numbers the angle "
        "itself. ValueError as in kabsch.");
  py::enum_<UnitState>(m, "UnitState", "What a unit is against its reference.")
      .value("none", UnitState::none)
      .value("whole", UnitState::whole)
      .value("broken", UnitState::broken)
      .value("inverted", UnitState::inverted);
  m.attr("MOST_LIGANDS") = MOST_LIGANDS;
  const char *arguments =
      "start (n + 1,): where the ligands of each unit begin; ids (m,): rising in "
      "each unit; vectors (m, 3): from the former, Å; pyramid (n,): whether the "
      "former is bonded to another. ";
  py::class_<UnitReferences>(
      m, "UnitReferences",
      "References of n units: each is broken while its ligands differ from its reference's; a new "
      "set of the same size is one exchange, and the reference, after hold evaluations in a row.")
      .def(py::init<py::ssize_t, int>(), py::arg("n"), py::arg("hold"),
           "No unit has a reference yet. ValueError for n < 0 and hold < 1.")
      .def("update", &UnitReferences::update, py::arg("start"), py::arg("ids"), py::arg("vectors"),
           py::arg("pyramid"),
           (std::string("One evaluation. ") + arguments +
            "A dict of state (n,) as in UnitState, angle and reduced (n,) in rad, axis (n, 3), "
            "residual (n,) in Å, exchanges (n,), quaternion (n, 4); rotations are those of whole "
            "units, else zero. ValueError for other shapes, ids that are not sorted, or numbers "
            "that are not finite.")
               .c_str())
      .def("look", &UnitReferences::look, py::arg("start"), py::arg("ids"), py::arg("vectors"),
           py::arg("pyramid"),
           (std::string("As update, without counting an evaluation. ") + arguments).c_str())
      .def("packed", &UnitReferences::packed, "The state: a list of numbers for each unit.")
      .def_static("unpacked", &UnitReferences::unpacked, py::arg("rows"), py::arg("hold"),
                  "From what packed gave. ValueError for other rows.");
}

}    // namespace lbpsi::bindings
