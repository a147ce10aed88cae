// Starts CPython inside a process that has none, such as the lmp executable.

#ifndef LBPSI_MLIAP_INTERPRETER_H
#define LBPSI_MLIAP_INTERPRETER_H

namespace lbpsi::mliap {

// Does nothing in a Python host. The interpreter is the one of the environment that lbpsi_driver
// is installed in. Throws std::runtime_error with one line.
void need_interpreter();

}    // namespace lbpsi::mliap

#endif
