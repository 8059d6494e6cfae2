// Activation functions and their derivatives, one number at a time: loops over them vectorize.
#pragma once
#include "real.h"

namespace fused {

const double LEAKY_SLOPE = 0.01;  // torch.nn.LeakyReLU's default

template <class Real> FUSED_FN Real sigmoid(Real x) { return 1 / (1 + exp_(-x)); }

// tanh(x) = sign(x) (1 - 2 / (exp(2|x|) + 1)); near 0, where that cancels, the odd Taylor polynomial.
template <class Real> FUSED_FN Real tanh_(Real x) {
  const Real far = 1 - 2 / (exp_(2 * magnitude(x)) + 1);
  const Real s = x * x;
  // Coefficients of x**3, x**5, ... : -1/3, 2/15, -17/315, 62/2835, -1382/155925, 21844/6081075, -929569/638512875.
  Real p = (Real)(-929569.0 / 638512875);
  p = p * s + (Real)(21844.0 / 6081075);
  p = p * s + (Real)(-1382.0 / 155925);
  p = p * s + (Real)(62.0 / 2835);
  p = p * s + (Real)(-17.0 / 315);
  p = p * s + (Real)(2.0 / 15);
  p = p * s + (Real)(-1.0 / 3);
  const Real near = x + x * s * p;
  const Real limit = sizeof(Real) == 4 ? (Real)0.3 : (Real)0.08;
  const Real outer = x < 0 ? -far : far;
  return magnitude(x) < limit ? near : outer;
}

// The distribution function of the standard normal, Phi(x) = erfc(-x / sqrt 2) / 2.
template <class Real> FUSED_FN Real normal_cdf(Real x);

template <class Real> FUSED_FN Real activate(int kind, Real z) {
  switch (kind) {
    case RELU: return z < 0 ? 0 : z;
    case LEAKY_RELU: return z < 0 ? (Real)LEAKY_SLOPE * z : z;
    case TANH: return tanh_(z);
    case SIGMOID: return sigmoid(z);
    case SILU: return z * sigmoid(z);
    default: return z * normal_cdf(z);
  }
}

// d activate / dz from z and from a = activate(z).
template <class Real> FUSED_FN Real slope(int kind, Real z, Real a) {
  switch (kind) {
    case RELU: return a <= 0 ? 0 : 1;
    case LEAKY_RELU: return a <= 0 ? (Real)LEAKY_SLOPE : 1;
    case TANH: return 1 - a * a;
    case SIGMOID: return a * (1 - a);
    case SILU: {
      const Real s = sigmoid(z);
      return s * (1 + z * (1 - s));
    }
    default: {
      // a = z Phi(z), and Phi is dear; where z is too small to divide by, Phi is 1/2.
      const Real cdf = magnitude(z) < (Real)1e-30 ? (Real)0.5 : a / z;
      return cdf + z * (Real)0.39894228040143267794 * exp_(-z * z / 2);
    }
  }
}

}  // namespace fused
