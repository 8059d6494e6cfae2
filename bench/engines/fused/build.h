// What one instruction set's build of the core gives to module.cpp: cells trained to their end (false where memory ran out), the
// operations of so many rounds of multiply-adds, elementary functions of many numbers, and normal numbers of many words.
#pragma once
#include "builds.h"
#include "elementary.h"
#include "peak.h"
#include "train_cell.h"

namespace fused {

// Vectors of BYTES; the other sizes are those of CpuTiles.
template <int BYTES, int V, int TM, int W> struct Build {
  template <class Real, bool ROUNDED = false> using Tiles = CpuTiles<Real, BYTES / (int)sizeof(Real), V, TM, W, ROUNDED>;

  static bool train(Task& task, const CpuHost& host) {
    switch (task.spec.dtype) {
      case FLOAT64: return train_cell<Tiles<double>>(task, host);
      case TF32: return train_cell<Tiles<float, true>>(task, host);
      default: return train_cell<Tiles<float>>(task, host);
    }
  }
  static double adds(bool is_double, long long rounds) {
    return is_double ? multiply_adds<Tiles<double>>(rounds) : multiply_adds<Tiles<float>>(rounds);
  }
};

}  // namespace fused

#define MEMCAP_BUILD(NAME, BYTES, V, TM, W)                                                     \
  extern "C" bool memcap_train_##NAME(void* task, const bool* stop, const bool* pause, int* epochs) { \
    return fused::Build<BYTES, V, TM, W>::train(*(fused::Task*)task, {stop, pause, epochs});    \
  }                                                                                             \
  extern "C" double memcap_multiply_adds_##NAME(bool is_double, long long rounds) {             \
    return fused::Build<BYTES, V, TM, W>::adds(is_double, rounds);                              \
  }                                                                                             \
  extern "C" void memcap_elementary_##NAME(bool is_double, const double* x, double* exps, double* logs, long long count) { \
    if (is_double) fused::elementary<double>(x, exps, logs, count);                             \
    else fused::elementary<float>(x, exps, logs, count);                                        \
  }                                                                                             \
  extern "C" void memcap_normals_##NAME(const unsigned* radius, const unsigned* turn, float* cosines, float* sines, \
                                        long long count) {                                      \
    fused::Build<BYTES, V, TM, W>::Tiles<float>::Draws::singles_of(radius, turn, cosines, sines, count); \
  }
