// What pair_style mliap/py and the Python half say to each other: no LAMMPS and no Python type,
// so that the plugin can be loaded where there is no Python at all.

#ifndef LBPSI_MLIAP_MODEL_H
#define LBPSI_MLIAP_MODEL_H

#include <cstdint>
#include <string>
#include <vector>

namespace lbpsi::mliap {

// One force evaluation on one rank. Rows 0..natoms-1 are owned atoms, the rest are ghosts.
struct Step {
  int natoms = 0;                      // owned atoms the model acts on
  int ntotal = 0;                      // owned and ghost atoms the model acts on
  std::vector<std::int64_t> elems;     // (ntotal) index into Model::elements()
  std::vector<std::int64_t> pair_i;    // (npairs) owned atom of each pair
  std::vector<std::int64_t> pair_j;    // (npairs) its neighbor, owned or ghost
  std::vector<double> rij;             // (npairs, 3) x_j - x_i, Å
  std::vector<double> eatoms;          // (natoms) written by the model, eV
  std::vector<double> fij;             // (npairs, 3) force on i through the pair, eV/Å
  double energy = 0.0;                 // written by the model, eV

  int npairs() const { return static_cast<int>(pair_i.size()); }
};

enum class Scalar { float32, float64 };

// Message passing between ranks, row-major arrays of (ntotal, width).
class Exchange {
 public:
  // out = in, with ghost rows taken from their owners
  virtual void forward(const void *in, void *out, int width, Scalar scalar) = 0;
  // out = in, with ghost rows added to their owners and then zeroed
  virtual void reverse(const void *in, void *out, int width, Scalar scalar) = 0;

 protected:
  ~Exchange() = default;
};

class Model {
 public:
  virtual ~Model() = default;
  virtual double cutoff() const = 0;    // Å
  virtual const std::vector<std::string> &elements() const = 0;
  // throws std::runtime_error with one line
  virtual void compute(Step &step, Exchange &exchange) = 0;
};

// Exported by the Python half under LOAD_SYMBOL. Throws std::runtime_error with one line.
using LoadFunction = Model *(const char *path, const char *device, int threads);
inline constexpr const char *LOAD_SYMBOL = "lbpsi_mliap_load";

}    // namespace lbpsi::mliap

#endif
