// Losses of networks with several outputs, of a block of samples: outputs [output][sample], rows Tiles::LD apart, become what the
// gradient is made of, zero beyond the n-th sample.
#pragma once
#include "real.h"

namespace fused {

// Numbers of a sample's targets: a label is one, whatever the outputs.
FUSED_FN int target_rows(const Spec& c) { return c.loss == CROSS_ENTROPY ? 1 : c.n_outputs; }

// Softmax cross-entropy of a block: logits become softmax less one at the label. Losses are added to `losses` and what is not right to
// `misses`, [sample] both, if these are wanted: not null.
//
// With e = exp(z - largest) of each logit and `rest` the sum of those that are not the label's, softmax at the label less one is
// -rest / (rest + e), and the loss is ln(1 + (rest + e - 1)) + (largest - z): neither is a small difference of large numbers, so
// gradients and losses keep their digits when all labels are known. A label is right where it is the first of the largest logits.
template <class Tiles>
FUSED_ASIDE void judge_labels(typename Tiles::Real* outputs, int n_outputs, const typename Tiles::Real* labels, int n,
                              typename Tiles::Real* losses, typename Tiles::Real* misses) {
  typedef typename Tiles::Real Real;
  typedef typename Tiles::Numbers Numbers;  // of so many samples at once
  constexpr int N = Tiles::DRAWS, LD = Tiles::LD;
  for (int start = Tiles::tid() * N; start < Tiles::BLOCK; start += Tiles::threads() * N) {
    Real* z = outputs + start;
    const Numbers label = *(const Numbers*)(labels + start);
    Numbers largest = *(const Numbers*)z, own = largest, first = {};
    for (int o = 1; o < n_outputs; o++) {
      const Numbers number = Numbers{} + (Real)o, logit = *(const Numbers*)(z + o * LD);
      first = logit > largest ? number : first;
      largest = logit > largest ? logit : largest;
      own = label == number ? logit : own;
    }
    Numbers rest = {}, mine = {};
    for (int o = 0; o < n_outputs; o++) {
      const Numbers number = Numbers{} + (Real)o;
      const Numbers e = exp_<Numbers, Real, typename Tiles::Whole>(*(const Numbers*)(z + o * LD) - largest);
      *(Numbers*)(z + o * LD) = e;
      rest += label == number ? Numbers{} : e;
      mine = label == number ? e : mine;
    }
    const Numbers loss = log1p_<Numbers, Real, typename Tiles::Whole>(rest + (mine - 1)) + (largest - own), part = 1 / (rest + mine);
    for (int o = 0; o < n_outputs; o++) {
      const Numbers number = Numbers{} + (Real)o, e = *(const Numbers*)(z + o * LD);
      *(Numbers*)(z + o * LD) = (label == number ? -rest : e) * part;
    }
    if (losses) {
      // No number is right.
      const Numbers wrong = loss - loss == 0 ? (first == label ? Numbers{} : Numbers{} + 1) : Numbers{} + 1;
      alignas(sizeof(Numbers)) Real loss_of[N], wrong_of[N];
      *(Numbers*)loss_of = loss;
      *(Numbers*)wrong_of = wrong;
      for (int k = 0; k < N && start + k < n; k++) {
        losses[start + k] += loss_of[k];
        misses[start + k] += wrong_of[k];
      }
    }
    for (int o = 0; o < n_outputs; o++)
      for (int k = n > start ? n - start : 0; k < N; k++) z[o * LD + k] = 0;
  }
}

// Of numbers, targets [output][sample], `row` from one output to the next: output - target, whose squares are added to `losses`, if
// wanted.
template <class Tiles>
FUSED_ASIDE void judge_numbers(typename Tiles::Real* outputs, int n_outputs, const typename Tiles::Real* targets, int row, int n,
                               typename Tiles::Real* losses) {
  typedef typename Tiles::Real Real;
  for (int o = 0; o < n_outputs; o++)
    for (int s = Tiles::tid(); s < Tiles::BLOCK; s += Tiles::threads()) {
      const Real error = outputs[o * Tiles::LD + s] - targets[(long long)o * row + s], left = s < n ? error : 0;
      outputs[o * Tiles::LD + s] = left;
      if (losses) losses[s] += left * left;
    }
}

template <class Tiles> FUSED_ASIDE void scale_outputs(typename Tiles::Real* outputs, int n_outputs, typename Tiles::Real part) {
  for (int o = 0; o < n_outputs; o++)
    for (int s = Tiles::tid(); s < Tiles::BLOCK; s += Tiles::threads()) outputs[o * Tiles::LD + s] *= part;
}

}  // namespace fused
