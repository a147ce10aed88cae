// lbpsi_driver._mliap: the Python half of pair_style mliap/py. It serves the attributes of the
// ML-IAP unified protocol to a model and hands what the model writes back to the pair style.

#include "interpreter.h"
#include "model.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <malloc.h>
#include <stdexcept>

namespace py = pybind11;

namespace lbpsi::mliap {
namespace {

template <class T>
py::array view(std::vector<T> &data, std::vector<py::ssize_t> shape, py::handle owner)
{
  return py::array_t<T>(std::move(shape), data.data(), owner);
}

std::string one_line(const py::error_already_set &problem)
{
  const auto type = py::str(problem.type().attr("__name__")).cast<std::string>();
  auto text = py::str(problem.value()).cast<std::string>();
  text = text.substr(0, text.find('\n'));
  return type == "MLIAPError" ? text : type + ": " + text;
}

// The data object that a model sees, under the names of ML-IAP's unified protocol.
class Data {
 public:
  Data(Step &step, Exchange &exchange) : step(step), exchange(exchange) {}

  Step &step;

  void forward_exchange(const py::object &in, py::object out, int) { travel(in, out, true); }
  void reverse_exchange(const py::object &in, py::object out, int) { travel(in, out, false); }

  void update_pair_forces(const py::object &forces)
  {
    const bool tensor = py::hasattr(forces, "detach");
    const py::array_t<double, py::array::c_style | py::array::forcecast> fij(
        tensor ? forces.attr("detach")().attr("cpu")().attr("numpy")() : forces);
    if (static_cast<std::size_t>(fij.size()) != step.fij.size())
      throw std::runtime_error("the model gave " + std::to_string(fij.size() / 3) +
                               " pair forces for " + std::to_string(step.npairs()) + " pairs");
    std::memcpy(step.fij.data(), fij.data(), fij.size() * sizeof(double));
  }

 private:
  Exchange &exchange;

  static void *address(const py::object &tensor)
  {
    return reinterpret_cast<void *>(tensor.attr("data_ptr")().cast<std::uintptr_t>());
  }

  void travel(const py::object &in, py::object &out, bool forward)
  {
    const py::object from = in.attr("detach")().attr("cpu")().attr("contiguous")();
    const bool direct = out.attr("is_cpu").cast<bool>() && out.attr("is_contiguous")().cast<bool>();
    const py::object to = direct ? out : from.attr("clone")();
    const Scalar scalar =
        from.attr("element_size")().cast<int>() == 4 ? Scalar::float32 : Scalar::float64;
    const int width = static_cast<int>(from.attr("numel")().cast<std::int64_t>() / step.ntotal);
    if (forward)
      exchange.forward(address(from), address(to), width, scalar);
    else
      exchange.reverse(address(from), address(to), width, scalar);
    if (!direct) out.attr("copy_")(to);
  }
};

// MACE allocates and frees tensors of 100 MB at each step. By default glibc maps each of them anew
// and the kernel clears its pages: a third of the step. Kept on the heap they are used again.
void reuse_freed_memory()
{
#ifdef __GLIBC__
  if (std::getenv("MALLOC_MMAP_MAX_")) return;    // the user has chosen
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

// Holds lbpsi_driver.mliap's LoadedModel.
class PythonModel : public Model {
 public:
  PythonModel(const char *path, const char *device, int threads)
  {
    py::gil_scoped_acquire gil;
    try {
      py::module_::import("lbpsi_driver._mliap");    // registers Data in this interpreter
      loaded = py::module_::import("lbpsi_driver.mliap").attr("load")(path, device, threads);
      radius = loaded.attr("cutoff").cast<double>();
      names = loaded.attr("elements").cast<std::vector<std::string>>();
    } catch (const py::error_already_set &problem) {
      throw std::runtime_error("mliap/py: " + one_line(problem));
    }
  }

  ~PythonModel() override
  {
    if (!Py_IsInitialized()) {
      loaded.release();    // the interpreter went first and took the object with it
      return;
    }
    py::gil_scoped_acquire gil;
    loaded = py::object();
  }

  double cutoff() const override { return radius; }
  const std::vector<std::string> &elements() const override { return names; }

  void compute(Step &step, Exchange &exchange) override
  {
    py::gil_scoped_acquire gil;
    try {
      loaded.attr("compute")(py::cast(Data(step, exchange)));
    } catch (const py::error_already_set &problem) {
      throw std::runtime_error(one_line(problem));
    } catch (const py::builtin_exception &problem) {
      PyErr_Clear();    // a host would trip over what pybind11 left behind
      throw std::runtime_error(problem.what());
    }
  }

 private:
  py::object loaded;
  double radius = 0.0;
  std::vector<std::string> names;
};

}    // namespace
}    // namespace lbpsi::mliap

using lbpsi::mliap::Data;

PYBIND11_MODULE(_mliap, module)
{
  module.doc() = "ML-IAP unified protocol between LAMMPS and a model in this Python.";
  module.attr("lammps_release") = LBPSI_LAMMPS_RELEASE;
  module.attr("version") = LBPSI_VERSION;

  using Object = py::object;
  py::class_<Data>(module, "Data", "What a model reads and writes in one force evaluation.")
      .def_property_readonly("nlocal", [](Data &d) { return d.step.natoms; })
      .def_property_readonly("nlistatoms", [](Data &d) { return d.step.natoms; })
      .def_property_readonly("ntotal", [](Data &d) { return d.step.ntotal; })
      .def_property_readonly("npairs", [](Data &d) { return d.step.npairs(); })
      .def_property_readonly("elems",
                             [](Object self) {
                               auto &step = self.cast<Data &>().step;
                               return lbpsi::mliap::view(step.elems, {step.ntotal}, self);
                             })
      .def_property_readonly("pair_i",
                             [](Object self) {
                               auto &step = self.cast<Data &>().step;
                               return lbpsi::mliap::view(step.pair_i, {step.npairs()}, self);
                             })
      .def_property_readonly("pair_j",
                             [](Object self) {
                               auto &step = self.cast<Data &>().step;
                               return lbpsi::mliap::view(step.pair_j, {step.npairs()}, self);
                             })
      .def_property_readonly("rij",
                             [](Object self) {
                               auto &step = self.cast<Data &>().step;
                               return lbpsi::mliap::view(step.rij, {step.npairs(), 3}, self);
                             })
      .def_property_readonly("eatoms",
                             [](Object self) {
                               auto &step = self.cast<Data &>().step;
                               return lbpsi::mliap::view(step.eatoms, {step.natoms}, self);
                             })
      .def_property(
          "energy", [](Data &d) { return d.step.energy; },
          [](Data &d, double energy) { d.step.energy = energy; })
      .def("forward_exchange", &Data::forward_exchange)
      .def("reverse_exchange", &Data::reverse_exchange)
      .def("update_pair_forces", &Data::update_pair_forces)
      .def("update_pair_forces_gpu", &Data::update_pair_forces);
}

extern "C" __attribute__((visibility("default"))) lbpsi::mliap::Model *
lbpsi_mliap_load(const char *path, const char *device, int threads)
{
  lbpsi::mliap::need_interpreter();
  lbpsi::mliap::reuse_freed_memory();
  return new lbpsi::mliap::PythonModel(path, device, threads);
}
