# Installs the sources of the styles into LAMMPS's own source tree, as its manual has it for styles of
# users: what lies in src/ is compiled and registered with LAMMPS. For builds that no plugin fits, as
# those with Kokkos in a static executable. Everything is named lbpsi*: delete that to take it out.

set(_src "${LAMMPS_TREE}/src")
set(_made "${CMAKE_CURRENT_BINARY_DIR}/in_tree")
# when it is installed: the sources are those of then, too
install(CODE "execute_process(
  COMMAND \"${Python_EXECUTABLE}\" \"${CMAKE_SOURCE_DIR}/cmake/motif_table.py\"
          \"${CMAKE_SOURCE_DIR}/python/lbpsi_driver/data/motifs.toml\"
          \"${_src}/lbpsi/table_data.h\"
  COMMAND_ERROR_IS_FATAL ANY)")
install(DIRECTORY cpp/core/include/lbpsi DESTINATION ${_src})
install(DIRECTORY cpp/lammps cpp/kokkos DESTINATION ${_src}/lbpsi
        FILES_MATCHING PATTERN "*.h" PATTERN "*.cpp"
        PATTERN "*plugin*" EXCLUDE PATTERN "*mliap*" EXCLUDE PATTERN "in_tree" EXCLUDE)
install(FILES cpp/kokkos/in_tree/compute_lbpsi.h cpp/kokkos/in_tree/fix_lbpsi.h DESTINATION ${_src})

# LAMMPS compiles the sources of src/ itself and of no folder in it.
function(install_sources target from to)
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "plugin")
  foreach(source IN LISTS sources)
    get_filename_component(name ${source} NAME)
    if(to STREQUAL "core")
      install(FILES ${from}/${source} DESTINATION ${_src}/lbpsi/core)
    endif()
    file(CONFIGURE OUTPUT ${_made}/lbpsi_${to}_${name} CONTENT "#include \"lbpsi/${to}/${name}\"\n")
    install(FILES ${_made}/lbpsi_${to}_${name} DESTINATION ${_src})
  endforeach()
endfunction()

set_target_properties(lbpsi_core lbpsi_styles lbpsikkplugin PROPERTIES EXCLUDE_FROM_ALL ON)
install_sources(lbpsi_core cpp/core core)
install_sources(lbpsi_styles cpp/lammps lammps)
install_sources(lbpsikkplugin cpp/kokkos kokkos)
message(STATUS "cmake --install writes the styles into ${_src}; then configure and compile LAMMPS")
