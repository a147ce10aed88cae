// How our arrays on the device grow, reach the host and are added up.

#ifndef LBPSI_ARRAYS_KOKKOS_H
#define LBPSI_ARRAYS_KOKKOS_H

#include "lammps_kokkos.h"

#include <cstddef>
#include <string>
#include <vector>

namespace lbpsi::kk {

constexpr double SPARE = 1.1;    // of what is needed, where an array has to grow

// Room for n, or more, of what is not set.
template <class T> void grow(Vector<T> &array, int n)
{
  if (static_cast<int>(array.extent(0)) >= n) return;
  array = Vector<T>();    // before there are two
  array = Vector<T>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "lbpsi"),
                    static_cast<std::size_t>(SPARE * n) + 1);
}

template <class T> void grow(Matrix<T> &array, int n, int width)
{
  if (static_cast<int>(array.extent(0)) >= n && static_cast<int>(array.extent(1)) == width) return;
  array = Matrix<T>();
  array = Matrix<T>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "lbpsi"),
                    static_cast<std::size_t>(SPARE * n) + 1, width);
}

// A number that other threads read or write meanwhile. Kokkos's own atomic_load and atomic_store
// exchange in a loop, on host and device: threads that meet at one number would queue. Numbers of 4
// and 8 bytes are read and written whole.
template <class T> KOKKOS_INLINE_FUNCTION T peek(const T &shared)
{
  return static_cast<const volatile T &>(shared);
}

template <class T> KOKKOS_INLINE_FUNCTION void poke(T &shared, T value)
{
  static_cast<volatile T &>(shared) = value;
}

template <class T> double bytes(const T &array)
{
  return static_cast<double>(array.span() * sizeof(typename T::value_type));
}

// The first n to the host and back.
template <class T> std::vector<T> to_host(const Vector<T> &from, int n)
{
  using Host = Kokkos::View<T *, Kokkos::LayoutRight, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>;
  std::vector<T> to(n);
  if (n) Kokkos::deep_copy(Host(to.data(), n), Kokkos::subview(from, std::make_pair(0, n)));
  return to;
}

template <class T> void to_device(const T *from, int n, Vector<T> &to)
{
  using Host =
      Kokkos::View<const T *, Kokkos::LayoutRight, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>;
  grow(to, n);
  if (n) Kokkos::deep_copy(Kokkos::subview(to, std::make_pair(0, n)), Host(from, n));
}

// The first n rows to rows of LAMMPS, which lie in one piece.
inline void copy_rows(const Matrix<double> &from, int n, double **to)
{
  using Host =
      Kokkos::View<double **, Kokkos::LayoutRight, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>;
  if (n == 0) return;
  const auto rows = Kokkos::subview(from, std::make_pair(0, n), Kokkos::ALL);
  Kokkos::deep_copy(Host(to[0], n, from.extent(1)), rows);
}

// In place: before, counts of n items; then where each begins, and in place n their sum, which it
// returns.
inline int starts_of(const Vector<int> &counts, int n)
{
  int sum = 0;
  Kokkos::parallel_scan(
      "lbpsi::starts", Policy(0, n + 1),
      KOKKOS_LAMBDA(const int i, int &before, const bool last) {
        const int count = i < n ? counts(i) : 0;
        if (last) counts(i) = before;
        before += count;
      },
      sum);
  return sum;
}

// Terms of sum_in_order that are sums in all columns.
struct Sums {
  KOKKOS_INLINE_FUNCTION double join(int, double a, double b) const { return a + b; }
};

// Sums over n atoms, to which terms(i, sums) adds what atom i adds to width sums, from zeros on.
// The same for any number of threads: one of them adds up those of a few atoms, and then
// terms.join(column, a, b) joins these in their order.
template <class Terms>
std::vector<double> sum_in_order(const char *name, int n, int width, const Terms &terms)
{
  constexpr int FEW = 128;
  const int parts = (n + FEW - 1) / FEW;
  Matrix<double> part;
  Vector<double> whole;
  grow(part, parts, width);
  grow(whole, width);
  Kokkos::parallel_for(
      name, Policy(0, parts), KOKKOS_LAMBDA(const int k) {
        for (int column = 0; column < width; ++column) part(k, column) = 0.0;
        const int last = (k + 1) * FEW < n ? (k + 1) * FEW : n;
        for (int i = k * FEW; i < last; ++i) terms(i, &part(k, 0));
      });
  Kokkos::parallel_for(
      name, Policy(0, width), KOKKOS_LAMBDA(const int column) {
        double all = 0.0;
        for (int k = 0; k < parts; ++k) all = terms.join(column, all, part(k, column));
        whole(column) = all;
      });
  return to_host(whole, width);
}

}    // namespace lbpsi::kk

#endif
