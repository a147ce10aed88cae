// pair_style mliap/py: the ML-IAP unified protocol on a LAMMPS without the PYTHON package.
//
//   pair_style mliap/py FILE [device cpu|cuda|cuda:K] [threads N]
//   pair_coeff * * Li B P S I          (NULL: types that the model does not act on)

#ifndef LMP_PAIR_MLIAP_PY_H
#define LMP_PAIR_MLIAP_PY_H

#include "../mliap/model.h"
#include "pair.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class PairMLIAPPy : public Pair, private lbpsi::mliap::Exchange {
 public:
  explicit PairMLIAPPy(class LAMMPS *);
  ~PairMLIAPPy() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  double memory_usage() override;

  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;

 private:
  std::unique_ptr<lbpsi::mliap::Model> model;
  lbpsi::mliap::Step step;
  std::vector<int> element_of_type;    // index into the model's elements, -1 where NULL
  std::vector<int> row_of_atom;        // row in step of each owned and ghost atom, -1 where NULL
  std::vector<int> atom_of_row;

  // the columns now travelling between ranks
  struct {
    char *rows;    // (ntotal, stride) bytes
    std::size_t stride;
    std::size_t bytes;    // of one row that travel now
    int slots;            // doubles of LAMMPS's buffer that they fill
    lbpsi::mliap::Scalar scalar;
  } travelling;

  int default_threads() const;
  void stop_together(const std::string &) const;
  void number_rows();
  void gather_pairs();
  void require_pairs_everywhere() const;
  void fail(const std::string &reason);
  void tally();
  void tally_virial(int, int, const double *, const double *);

  void forward(const void *, void *, int, lbpsi::mliap::Scalar) override;
  void reverse(const void *, void *, int, lbpsi::mliap::Scalar) override;
  template <class Communicate> void in_chunks(void *, int, lbpsi::mliap::Scalar, Communicate);
};

}    // namespace LAMMPS_NS

#endif
