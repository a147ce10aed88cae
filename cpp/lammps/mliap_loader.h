// Finds and opens the half of pair_style mliap/py that hosts Python.

#ifndef LBPSI_MLIAP_LOADER_H
#define LBPSI_MLIAP_LOADER_H

#include "../mliap/model.h"

#include <memory>
#include <string>

namespace lbpsi::mliap {

// Throws std::runtime_error with one line: no libpython, no such file, no model, ...
std::unique_ptr<Model> load_model(const std::string &path, const std::string &device, int threads);

}    // namespace lbpsi::mliap

#endif
