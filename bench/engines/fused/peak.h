// What a processor can do at most: multiply-adds on registers alone, to hold a training speed against.
#pragma once
#include "cpu_tiles.h"

namespace fused {

// Multiply-adds in flight: more than a processor's latency times the units that start one in a cycle.
const int IN_FLIGHT = 12;

// Runs `rounds` of them on this thread; returns the floating-point operations that were.
template <class Tiles> double multiply_adds(long long rounds) {
  typedef typename Tiles::Vector Vector;
  typedef typename Tiles::Real Real;
  Vector sums[IN_FLIGHT];
  FUSED_UNROLL for (int i = 0; i < IN_FLIGHT; i++) sums[i] = Vector{} + (Real)i;
  const Vector factor = Vector{} + (Real)0.999, more = Vector{} + (Real)1e-3;
  for (long long round = 0; round < rounds; round++)
    FUSED_UNROLL for (int i = 0; i < IN_FLIGHT; i++) sums[i] = sums[i] * factor + more;
  volatile Real kept = 0;  // or the loop would be dropped
  for (int i = 0; i < IN_FLIGHT; i++) kept = kept + sums[i][0];
  return 2.0 * rounds * IN_FLIGHT * (sizeof(Vector) / sizeof(Real));
}

}  // namespace fused
