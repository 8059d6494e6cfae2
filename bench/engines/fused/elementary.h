// The core's elementary functions of many numbers, as a build computes them where it trains: a test holds them against better ones.
#pragma once
#include "real.h"

namespace fused {

// exps[i] = exp(x[i]) and logs[i] = ln(1 + x[i]) in the arithmetic of Real.
template <class Real> void elementary(const double* x, double* exps, double* logs, long long count) {
  for (long long i = 0; i < count; i++) exps[i] = exp_((Real)x[i]);
  for (long long i = 0; i < count; i++) logs[i] = log1p_((Real)x[i]);
}

}  // namespace fused
