// What differs between the KOKKOS packages of LAMMPS from 4 Feb 2025 to the middle of 2026 (Kokkos
// 4 and 5): types are taken from LAMMPS's own members, not spelt by the names of one release.

#ifndef LBPSI_LAMMPS_KOKKOS_H
#define LBPSI_LAMMPS_KOKKOS_H

#include "atom_kokkos.h"
#include "atom_masks.h"
#include "kokkos_base.h"
#include "kokkos_type.h"
#include "neigh_list_kokkos.h"

#include <tuple>
#include <type_traits>
#include <utility>

namespace lbpsi::kk {

// Our own arrays; those that grow are longer than their use. LayoutRight: a row of an atom lies in
// one piece, as buffers of messages want it.
template <class T> using Vector = Kokkos::View<T *, Kokkos::LayoutRight, LMPDeviceType>;
template <class T> using Matrix = Kokkos::View<T **, Kokkos::LayoutRight, LMPDeviceType>;
template <class T>
using DualMatrix =
    Kokkos::DualView<T **, Kokkos::LayoutRight, LMPDeviceType>;    // view_host/view_device
template <class View>
using Mirror = decltype(Kokkos::create_mirror_view(std::declval<const View &>()));

// Views of per-atom arrays of LAMMPS: positions are KK_FLOAT from 2025 on, X_FLOAT before, and
// double only where LAMMPS was configured for it.
template <class Array>
using ViewOf = std::decay_t<decltype(std::declval<Array &>().template view<LMPDeviceType>())>;
using Positions = ViewOf<decltype(LAMMPS_NS::AtomKokkos::k_x)>;
using Types = ViewOf<decltype(LAMMPS_NS::AtomKokkos::k_type)>;
using Masks = ViewOf<decltype(LAMMPS_NS::AtomKokkos::k_mask)>;
using Tags = ViewOf<decltype(LAMMPS_NS::AtomKokkos::k_tag)>;
using Images = ViewOf<decltype(LAMMPS_NS::AtomKokkos::k_image)>;
using Masses = ViewOf<decltype(LAMMPS_NS::AtomKokkos::k_rmass)>;

// A full list on the device.
struct Neighbors {
  using List = LAMMPS_NS::NeighListKokkos<LMPDeviceType>;

  int n;
  decltype(List::d_ilist) atoms;    // (n), owned
  decltype(List::d_numneigh) counts;
  decltype(List::d_neighbors) of;    // those of an atom, with bits that NEIGHMASK takes off
};

constexpr auto SPACE = ExecutionSpaceFromDevice<LMPDeviceType>::space;
using Policy = Kokkos::RangePolicy<LMPDeviceType>;

// Parameters of a member function.
template <class R, class C, class... A> std::tuple<A...> parameters(R (C::*)(A...));
template <int N, class F>
using Parameter = std::tuple_element_t<N, decltype(parameters(std::declval<F>()))>;

// Buffers that LAMMPS hands to a style; references, as its functions take them.
using ForwardList = Parameter<1, decltype(&LAMMPS_NS::KokkosBase::pack_forward_comm_kokkos)>;
using ForwardBuffer = Parameter<2, decltype(&LAMMPS_NS::KokkosBase::pack_forward_comm_kokkos)>;
using ExchangeBuffer = Parameter<1, decltype(&LAMMPS_NS::KokkosBase::pack_exchange_kokkos)>;
using ExchangeList = Parameter<2, decltype(&LAMMPS_NS::KokkosBase::pack_exchange_kokkos)>;
using ExchangeIndices = Parameter<1, decltype(&LAMMPS_NS::KokkosBase::unpack_exchange_kokkos)>;

// Whether positions travel by the code of the plain package; its name changed in 2026.
template <class KokkosLMP>
auto forward_comm_is_plain(const KokkosLMP &kokkos,
                           int) -> decltype(bool(kokkos.forward_comm_legacy))
{
  return kokkos.forward_comm_legacy;
}
template <class KokkosLMP>
auto forward_comm_is_plain(const KokkosLMP &kokkos,
                           long) -> decltype(bool(kokkos.forward_comm_classic))
{
  return kokkos.forward_comm_classic;
}

}    // namespace lbpsi::kk

#endif
