#include "interpreter.h"

#include <Python.h>

#include <cstdlib>
#include <dlfcn.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace lbpsi::mliap {
namespace {

// The environment's own python, found upwards of this file: <prefix>/lib/…/lbpsi_driver/_mliap.so
std::string python_beside_module()
{
  Dl_info info;
  if (!dladdr(reinterpret_cast<void *>(&python_beside_module), &info) || !info.dli_fname) return "";
  std::string folder = info.dli_fname;
  for (auto slash = folder.find_last_of('/'); slash != std::string::npos && slash > 0;
       slash = folder.find_last_of('/')) {
    folder.resize(slash);
    const std::string python = folder + "/bin/python3";
    if (access(python.c_str(), X_OK) == 0) return python;
  }
  return "";
}

}    // namespace

void need_interpreter()
{
  if (Py_IsInitialized()) return;
  const char *chosen = std::getenv("LBPSI_PYTHON");
  const std::string executable = chosen && *chosen ? chosen : python_beside_module();

  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  PyStatus status = PyStatus_Ok();
  if (!executable.empty())
    status = PyConfig_SetBytesString(&config, &config.executable, executable.c_str());
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (PyStatus_Exception(status))
    throw std::runtime_error(std::string("mliap/py: Python does not start: ") +
                             (status.err_msg ? status.err_msg : "unknown error") +
                             "; set LBPSI_PYTHON to the python of your environment");
  // The main thread keeps the GIL: releasing the state here makes a later finalize crash.
}

}    // namespace lbpsi::mliap
