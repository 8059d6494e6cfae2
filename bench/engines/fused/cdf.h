// Phi(z), the distribution function of the standard normal, for exact gelu.
#pragma once
#include "real.h"

namespace fused {

// Chebyshev coefficients in 2 t - 1 of ln(erfc(x) / t) + x**2, t = 2 / (2 + x), x >= 0; computed with 50 digits. As many as the
// precision of a type needs.
#define FUSED_CDF_SERIES \
  -1.30265371978170943, 0.64196979235649026, 0.0194764732041858363, -0.00956151478680863164, -0.000946595344482036866, \
  0.000366839497852761452, 0.0000425233248069077716, -0.0000202785781125342432, -1.62429000464702551e-6, 1.3036558355805232e-6, \
  1.56264417220661432e-8, -8.52380959149265425e-8, 6.5290544390988515e-9, 5.05934349555146894e-9, -9.91364156493033087e-10, \
  -2.27365122293183586e-10, 9.6467911020155268e-11, 2.39403808303911474e-12, -6.8860275264975534e-12, 8.94487927309072572e-13, \
  3.13092139934295808e-13, -1.12708223613672524e-13, 3.81090525518923206e-16, 7.10609761360923699e-15, -1.5230282014571043e-15, \
  -9.457494571291234e-17, 1.21023718922427899e-16, -2.81666308774717697e-17

template <class Real> FUSED_FN Real normal_cdf(Real z) {
  const double series[] = {FUSED_CDF_SERIES};
  const int terms = sizeof(Real) == 4 ? 11 : 28;
  const Real x = magnitude(z) * (Real)0.70710678118654752440;
  const Real t = 2 / (2 + x);
  const Real u = 2 * t - 1;
  // Clenshaw's recurrence.
  Real after = 0, next = 0;
  for (int j = terms - 1; j > 0; j--) {
    const Real now = 2 * u * after - next + (Real)series[j];
    next = after;
    after = now;
  }
  const Real log_ratio = u * after - next + (Real)(series[0] / 2);
  const Real tail = t * exp_(log_ratio - x * x) / 2;
  return z < 0 ? tail : 1 - tail;
}

}  // namespace fused
