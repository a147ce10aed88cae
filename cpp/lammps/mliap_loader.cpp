#include "mliap_loader.h"

#include <cstdlib>
#include <dlfcn.h>
#include <stdexcept>

namespace lbpsi::mliap {
namespace {

std::string dl_message()
{
  const char *text = dlerror();
  return text ? text : "unknown error";
}

std::string plugin_folder()
{
  Dl_info info;
  if (!dladdr(reinterpret_cast<void *>(&plugin_folder), &info) || !info.dli_fname)
    throw std::runtime_error("mliap/py: cannot tell where lbpsiplugin.so was loaded from");
  const std::string file = info.dli_fname;
  return file.substr(0, file.find_last_of('/'));
}

// A lmp executable has no Python in it; a Python host (shared or static) has.
void need_python_symbols()
{
  if (dlsym(RTLD_DEFAULT, "Py_IsInitialized")) return;
  const char *chosen = std::getenv("LBPSI_LIBPYTHON");
  const std::string library = chosen && *chosen ? chosen : LBPSI_LIBPYTHON;
  if (!dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL))
    throw std::runtime_error("mliap/py: no shared libpython (" + dl_message() +
                             "); set LBPSI_LIBPYTHON to its path, or run the deck from Python "
                             "(python -m lbpsi_driver)");
}

LoadFunction *open_core()
{
  need_python_symbols();
  const std::string file = plugin_folder() + "/../" LBPSI_MLIAP_MODULE;
  void *core = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!core) throw std::runtime_error("mliap/py: cannot open " + file + ": " + dl_message());
  auto *load = reinterpret_cast<LoadFunction *>(dlsym(core, LOAD_SYMBOL));
  if (!load) throw std::runtime_error("mliap/py: " + file + " is of another lbpsi-driver release");
  return load;
}

}    // namespace

std::unique_ptr<Model> load_model(const std::string &path, const std::string &device, int threads)
{
  static LoadFunction *load = open_core();
  return std::unique_ptr<Model>(load(path.c_str(), device.c_str(), threads));
}

}    // namespace lbpsi::mliap
