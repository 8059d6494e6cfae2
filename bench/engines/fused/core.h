// One training core for every engine: the walk over epochs, batches, blocks of samples and layers of ONE cell, and all of the
// protocol's arithmetic. `Tiles` supplies three small matrix products and how threads share work: every loop here is
//     for (int i = Tiles::tid(); i < n; i += Tiles::threads()) ...
// followed by Tiles::sync(). Activations are kept [unit][sample], a block of samples at a time, on chip.
#pragma once
#include "activations.h"
#include "box_muller.h"
#include "cdf.h"
#include "philox.h"
#include "spec.h"

namespace fused {

#define FUSED_EACH(i, n) for (int i = Tiles::tid(); i < (n); i += Tiles::threads())

FUSED_FN int padded(int count, int granule) { return (count + granule - 1) / granule * granule; }

// Numbers from one row of weights to the next. Rows a multiple of 256 numbers apart would meet in the same few places of a cache.
FUSED_FN int row_of(int fan_in, int granule) {
  const int row = padded(fan_in, granule);
  return row % 256 ? row : row + granule;
}

// Where the weights and biases of layer l lie in a flat array, rows padded to Tiles::PAD numbers; padding is zero for ever.
struct Layer {
  int fan_in, fan_out, row, weights, biases, end;
};
template <class Tiles> FUSED_FN Layer layer_of(const Spec& c, int l) {
  int at = 0;
  for (int k = 0;; k++) {
    const int fan_in = k ? c.width : c.d_in, fan_out = k < c.depth ? c.width : 1;
    const int row = row_of(fan_in, Tiles::PAD), biases = at + fan_out * row, end = biases + padded(fan_out, Tiles::PAD);
    if (k == l) return {fan_in, fan_out, row, at, biases, end};
    at = end;
  }
}
template <class Tiles> FUSED_FN int n_padded_params(const Spec& c) { return layer_of<Tiles>(c, c.depth).end; }

template <class Tiles> FUSED_FN bool keeps_inputs(const Spec& c) { return c.activation == GELU || c.activation == SILU; }

// Philox calls for one sample of one hidden layer.
FUSED_FN int calls_of(const Spec& c) { return (c.width + UNITS_PER_CALL - 1) / UNITS_PER_CALL; }

// Numbers of scratch that a cell needs.
template <class Tiles> FUSED_FN long long scratch_size(const Spec& c) {
  const long long layer = (long long)c.width * Tiles::BLOCK;
  const int kept = 1 + keeps_inputs<Tiles>(c) + (c.dropout > 0);
  const long long bits = c.dropout > 0 ? (long long)c.depth * calls_of(c) * Tiles::BLOCK : 0;
  return (c.depth * kept + 2) * layer + (c.d_in + 2LL) * Tiles::BLOCK + Tiles::TURNED + bits;
}

// Samples as features [d_in][row], row a whole number of blocks, zero beyond the last sample.
template <class Real> struct Data {
  const Real* inputs;
  const Real* targets;
  int row;
};

template <class Real> struct Arrays {
  Real *params, *moment1, *moment2, *moment2_max, *gradient;  // each n_padded_params
  Data<Real> train, val;
  Real* scratch;
  int* order;           // n_samples, for shuffled batches
  const double* rates;  // of each epoch
  double *tau, *val_mse;  // of each epoch, out
};

template <class Tiles> class Core {
 public:
  typedef typename Tiles::Real Real;
  static constexpr int BLOCK = Tiles::BLOCK;

  FUSED_FN Core(const Spec& spec, const Arrays<Real>& arrays) : c(spec), a(arrays) {
    layer_numbers = c.width * BLOCK;
    acts = a.scratch;
    pre = keeps_inputs<Tiles>(c) ? acts + c.depth * layer_numbers : acts;
    fed = c.dropout > 0 ? pre + c.depth * layer_numbers : acts;
    Real* next = (c.dropout > 0 ? fed : pre) + c.depth * layer_numbers;
    delta[0] = next;
    delta[1] = next + layer_numbers;
    residual = next + 2 * layer_numbers;
    batch_targets = residual + BLOCK;
    batch_inputs = batch_targets + BLOCK;
    turned = batch_inputs + c.d_in * BLOCK;
    kept = (Word*)(turned + Tiles::TURNED);
    apart = c.batch_size < c.n_samples || (c.dropout > 0 && c.depth > 0) || c.input_noise > 0;
    size = n_padded_params<Tiles>(c);
    // A trained readout alone leaves the layers below it as they are.
    first_trained = c.readout && c.depth ? layer_of<Tiles>(c, c.depth).weights : 0;
  }

  // Trains to the end of the cell, or until the host says stop: asked before every block of samples, since an epoch may take long.
  // Returns the last epoch measured; `state` says how it came to be last. `host` has `stopped()`, the same for all threads of a
  // block, and `epoch_done()`.
  template <class Host> FUSED_FN int train(Host& host, State* state) {
    best_val = (Real)__builtin_inff();
    int best_epoch = 0, step = 0;
    double power1 = 1, power2 = 1;
    for (int epoch = 0;; epoch++) {
      const bool last = epoch == c.max_epochs;
      Real tau;
      if (apart || last) {
        tau = measure(host, a.train, c.n_samples);
      } else {
        clear_gradient();
        tau = gradient_of(host);
      }
      tau = tau / (Real)c.variance;
      if (Tiles::tid() == 0) a.tau[epoch] = tau;
      bool goes_on = tau > (Real)c.tau && is_finite(tau) && !last;
      if (c.n_val) {
        const Real val = measure(host, a.val, c.n_val);
        if (Tiles::tid() == 0) a.val_mse[epoch] = val;
        if (val < best_val) {
          best_val = val;
          best_epoch = epoch;
        }
        goes_on = goes_on && (c.patience < 0 || epoch - best_epoch < c.patience);
      }
      if (host.stopped()) {
        *state = STOPPED;
        return epoch;
      }
      if (!goes_on) {
        *state = ENDED;
        return epoch;
      }
      host.epoch_done();
      if (c.shuffle && c.batch_size < c.n_samples) {
        const Order order(c.order_key, epoch, c.n_samples);
        FUSED_EACH(i, c.n_samples) a.order[i] = (int)order.at((Word)i);
        Tiles::sync();
      }
      const int batch = apart ? c.batch_size : c.n_samples;
      for (int start = 0; start < c.n_samples && !host.stopped(); start += batch, step++) {
        if (apart) {
          const int count = c.n_samples - start < batch ? c.n_samples - start : batch;
          clear_gradient();
          gradient_of_batch(host, start, count, step);
        }
        power1 *= c.beta1;
        power2 *= c.beta2;
        update(a.rates[epoch], power1, power2);
      }
    }
  }

  // Outputs of the first `count` training samples, in evaluation mode.
  FUSED_FN void predict(int count, Real* outputs) {
    for (int start = 0; start < count; start += BLOCK) {
      const int n = count - start < BLOCK ? count - start : BLOCK;
      forward(a.train.inputs + start, a.train.row, n, nullptr, false);
      FUSED_EACH(s, n) outputs[start + s] = residual[s];
      Tiles::sync();
    }
  }

 private:
  Spec c;
  Arrays<Real> a;
  int layer_numbers, size, first_trained;
  bool apart;
  Real *acts, *pre, *fed, *delta[2], *residual, *batch_targets, *batch_inputs, *turned;
  Word* kept;  // a bit for each unit of a call: [layer][call][sample]
  Real best_val;

  FUSED_FN void clear_gradient() {
    Real* g = a.gradient;
    for (int i = first_trained + Tiles::tid(); i < size; i += Tiles::threads()) g[i] = 0;
    Tiles::sync();
  }

  // Outputs of a block into `residual`; what the backward pass needs stays in acts, pre and fed.
  FUSED_FN void forward(const Real* in, int in_row, int n, const int* samples, bool dropping, int step = 0) {
    const int span = padded(n, BLOCK / 4);
    for (int l = 0; l < c.depth; l++) {
      const Layer at = layer_of<Tiles>(c, l);
      Real* z = pre + l * layer_numbers;
      Real* out = acts + l * layer_numbers;
      const Real *weights = a.params + at.weights, *biases = a.params + at.biases;
      if (c.activation == RELU) {
        Tiles::template affine<true>(out, weights, at.row, biases, in, in_row, at.fan_out, at.fan_in, n);
        Tiles::sync();
      } else {
        Tiles::template affine<false>(z, weights, at.row, biases, in, in_row, at.fan_out, at.fan_in, n);
        Tiles::sync();
        activate_layer(z, out, at.fan_out, span);
      }
      in = out;
      in_row = BLOCK;
      if (dropping) {
        Real* dropped = fed + l * layer_numbers;
        draw_kept(l, n, samples, step);
        drop(out, dropped, l, at.fan_out, n);
        in = dropped;
      }
    }
    const Layer at = layer_of<Tiles>(c, c.depth);
    Tiles::template affine<false>(residual, a.params + at.weights, at.row, a.params + at.biases, in, in_row, 1, at.fan_in, n);
    Tiles::sync();
  }

  FUSED_FN void activate_layer(const Real* z, Real* out, int units, int span) {
    switch (c.activation) {
      case LEAKY_RELU: return each_activation<LEAKY_RELU>(z, out, units, span);
      case TANH: return each_activation<TANH>(z, out, units, span);
      case GELU: return each_activation<GELU>(z, out, units, span);
      case SILU: return each_activation<SILU>(z, out, units, span);
      default: return each_activation<SIGMOID>(z, out, units, span);
    }
  }
  template <int KIND> FUSED_FN void each_activation(const Real* z, Real* out, int units, int span) {
    for (int u = 0; u < units; u++) FUSED_EACH(s, span) out[u * BLOCK + s] = activate<Real>(KIND, z[u * BLOCK + s]);
    Tiles::sync();
  }

  // below *= slope of the activation.
  FUSED_FN void slope_layer(Real* below, const Real* z, const Real* out, int units, int span) {
    switch (c.activation) {
      case RELU: return each_slope<RELU>(below, z, out, units, span);
      case LEAKY_RELU: return each_slope<LEAKY_RELU>(below, z, out, units, span);
      case TANH: return each_slope<TANH>(below, z, out, units, span);
      case GELU: return each_slope<GELU>(below, z, out, units, span);
      case SILU: return each_slope<SILU>(below, z, out, units, span);
      default: return each_slope<SIGMOID>(below, z, out, units, span);
    }
  }
  template <int KIND> FUSED_FN void each_slope(Real* below, const Real* z, const Real* out, int units, int span) {
    for (int u = 0; u < units; u++)
      FUSED_EACH(s, span) {
        const int i = u * BLOCK + s;
        if (KIND == RELU) below[i] = out[i] <= 0 ? 0 : below[i];
        else below[i] *= slope<Real>(KIND, z[i], out[i]);
      }
    Tiles::sync();
  }

  // Which units of a layer are kept at this step. `samples` are places in the training set.
  FUSED_FN void draw_kept(int layer, int n, const int* samples, int step) {
    const Word below = drop_threshold(c.dropout);
    const int span = padded(n, BLOCK / 4);
    for (int call = 0; call < calls_of(c); call++) {
      Word* bits = kept + (layer * calls_of(c) + call) * BLOCK;
      FUSED_EACH(s, span) {
        const Words drawn = philox((Word)step, (Word)layer, (Word)call, (Word)samples[s], c.dropout_key[0], c.dropout_key[1]);
        Word all = 0;
        for (int k = 0; k < 4; k++) {
          all |= (Word)((drawn.w[k] & 0xFFFFu) >= below) << (2 * k);
          all |= (Word)((drawn.w[k] >> 16) >= below) << (2 * k + 1);
        }
        bits[s] = all;
      }
    }
    Tiles::sync();
  }

  // to = from, scaled up, where the unit is kept, else 0.
  FUSED_FN void drop(const Real* from, Real* to, int layer, int units, int n) {
    const Real scale = (Real)((double)HALF_WORDS / (HALF_WORDS - drop_threshold(c.dropout)));
    const int span = padded(n, BLOCK / 4);
    for (int u = 0; u < units; u++) {
      const Word* bits = kept + (layer * calls_of(c) + u / UNITS_PER_CALL) * BLOCK;
      const Word bit = 1u << (u % UNITS_PER_CALL);
      FUSED_EACH(s, span) {
        const Real scaled = from[u * BLOCK + s] * scale;  // read in any case: so the loop vectorizes
        to[u * BLOCK + s] = bits[s] & bit ? scaled : 0;
      }
    }
    Tiles::sync();
  }

  // Of a block's residuals, those beyond its samples being zero.
  FUSED_FN Real sum_of_squares() {
    constexpr int LANES = BLOCK / 4;
    Real lanes[LANES] = {}, total = 0;
    for (int s = 0; s < BLOCK; s += LANES)
      for (int k = 0; k < LANES; k++) lanes[k] += residual[s + k] * residual[s + k];
    for (int k = 0; k < LANES; k++) total += lanes[k];
    return total;
  }

  // Mean squared error over a data set, in evaluation mode.
  template <class Host> FUSED_FN Real measure(Host& host, const Data<Real>& data, int count) {
    double total = 0;
    for (int start = 0; start < count && !host.stopped(); start += BLOCK) {
      const int n = count - start < BLOCK ? count - start : BLOCK;
      forward(data.inputs + start, data.row, n, nullptr, false);
      FUSED_EACH(s, BLOCK) residual[s] = s < n ? residual[s] - data.targets[start + s] : 0;
      Tiles::sync();
      total += sum_of_squares();
      Tiles::sync();
    }
    return (Real)(total / count);
  }

  // Adds the gradient of the mean squared error over all training samples, block by block; returns that error.
  template <class Host> FUSED_FN Real gradient_of(Host& host) {
    const Data<Real>& data = a.train;
    double total = 0;
    for (int start = 0; start < c.n_samples && !host.stopped(); start += BLOCK) {
      const int n = c.n_samples - start < BLOCK ? c.n_samples - start : BLOCK;
      forward(data.inputs + start, data.row, n, nullptr, false);
      FUSED_EACH(s, BLOCK) residual[s] = s < n ? residual[s] - data.targets[start + s] : 0;
      Tiles::sync();
      total += sum_of_squares();
      Tiles::sync();
      backward(data.inputs + start, data.row, n, c.n_samples, false);
    }
    return (Real)(total / c.n_samples);
  }

  // The same for one batch of an epoch, whose samples are gathered, shaken and dropped from.
  template <class Host> FUSED_FN void gradient_of_batch(Host& host, int start, int count, int step) {
    const bool dropping = c.dropout > 0 && c.depth > 0;
    int samples[BLOCK];
    for (int at = 0; at < count && !host.stopped(); at += BLOCK) {
      const int n = count - at < BLOCK ? count - at : BLOCK;
      for (int s = 0; s < BLOCK; s++) {
        const int place = start + at + (s < n ? s : 0);
        samples[s] = c.shuffle && c.batch_size < c.n_samples ? a.order[place] : place;
      }
      for (int f = 0; f < c.d_in; f++)
        FUSED_EACH(s, BLOCK) batch_inputs[f * BLOCK + s] = s < n ? a.train.inputs[f * a.train.row + samples[s]] : 0;
      FUSED_EACH(s, BLOCK) batch_targets[s] = a.train.targets[samples[s]];
      Tiles::sync();
      if (c.input_noise > 0) shake(n, samples, step);
      forward(batch_inputs, BLOCK, n, samples, dropping, step);
      FUSED_EACH(s, BLOCK) residual[s] = s < n ? residual[s] - batch_targets[s] : 0;
      Tiles::sync();
      backward(batch_inputs, BLOCK, n, count, dropping);
    }
  }

  // Adds fresh normal noise to a batch's inputs.
  FUSED_FN void shake(int n, const int* samples, int step) {
    const Real amount = (Real)c.input_noise;
    for (int call = 0; call * NORMALS_PER_CALL < c.d_in; call++)
      FUSED_EACH(s, n) {
        const Words drawn = philox((Word)step, 0, (Word)call, (Word)samples[s], c.noise_key[0], c.noise_key[1]);
        for (int pair = 0; pair < 2; pair++) {
          const double radius = root(-2 * log_(uniform(drawn.w[2 * pair])));
          const Turn turn = turn_by(uniform(drawn.w[2 * pair + 1]));
          const int f = call * NORMALS_PER_CALL + 2 * pair;
          if (f < c.d_in) batch_inputs[f * BLOCK + s] += amount * (Real)(radius * turn.cosine);
          if (f + 1 < c.d_in) batch_inputs[(f + 1) * BLOCK + s] += amount * (Real)(radius * turn.sine);
        }
      }
    Tiles::sync();
  }

  FUSED_FN void backward(const Real* in, int in_row, int n, int count, bool dropping) {
    const int span = padded(n, BLOCK / 4);
    const Real share = (Real)2 / (Real)count;
    FUSED_EACH(s, BLOCK) residual[s] *= share;
    Tiles::sync();
    const Real* above = residual;
    for (int l = c.depth; l >= 0; l--) {
      const Layer at = layer_of<Tiles>(c, l);
      const Real* below_fed = l ? (dropping ? fed : acts) + (l - 1) * layer_numbers : in;
      Tiles::outer(a.gradient + at.weights, at.row, a.gradient + at.biases, above, below_fed, l ? BLOCK : in_row, at.fan_out,
                   at.fan_in, n, turned);
      Tiles::sync();
      if (l == 0 || c.readout) break;
      Real* below = delta[l % 2];
      const Real* out = acts + (l - 1) * layer_numbers;
      const Real* weights = a.params + at.weights;
      if (c.activation == RELU) Tiles::template back<true>(below, weights, at.row, above, out, at.fan_out, at.fan_in, n);
      else Tiles::template back<false>(below, weights, at.row, above, out, at.fan_out, at.fan_in, n);
      Tiles::sync();
      if (dropping) drop(below, below, l - 1, at.fan_in, n);
      if (c.activation != RELU) slope_layer(below, pre + (l - 1) * layer_numbers, out, at.fan_in, span);
      above = below;
    }
  }

  // One optimizer step, as torch.optim's SGD, Adam and AdamW take it.
  FUSED_FN void update(double rate, double power1, double power2) {
    const int first = first_trained;
    Real *p = a.params, *g = a.gradient, *m = a.moment1;
    const Real decay = (Real)(c.optimizer == ADAMW ? 0 : c.weight_decay), l1 = (Real)c.l1;
    if (decay != 0 || l1 != 0)
      for (int i = first + Tiles::tid(); i < size; i += Tiles::threads()) {
        const Real sign = (Real)((p[i] > 0) - (p[i] < 0));
        g[i] = g[i] + decay * p[i] + l1 * sign;
      }
    if (c.optimizer == SGD) {
      const Real momentum = (Real)c.momentum, by = (Real)rate;
      for (int i = first + Tiles::tid(); i < size; i += Tiles::threads()) {
        m[i] = momentum * m[i] + g[i];
        p[i] -= by * m[i];
      }
    } else {
      if (c.amsgrad) adam<true>(rate, power1, power2);
      else adam<false>(rate, power1, power2);
    }
    Tiles::sync();
    if (c.max_norm < (double)__builtin_inff()) constrain();
  }

  template <bool LARGEST> FUSED_FN void adam(double rate, double power1, double power2) {
    Real* __restrict p = a.params;
    Real* __restrict m = a.moment1;
    Real* __restrict v = a.moment2;
    Real* __restrict vmax = a.moment2_max;
    const Real* __restrict g = a.gradient;
    const Real keep1 = (Real)(1 - c.beta1), beta2 = (Real)c.beta2, keep2 = (Real)(1 - c.beta2), eps = (Real)c.eps;
    const Real by = (Real)(rate / (1 - power1)), scale = (Real)(1 / __builtin_sqrt(1 - power2));
    const Real shrink = (Real)(c.optimizer == ADAMW ? 1 - rate * c.weight_decay : 1);
    for (int i = first_trained + Tiles::tid(); i < size; i += Tiles::threads()) {
      m[i] += keep1 * (g[i] - m[i]);
      v[i] = beta2 * v[i] + keep2 * g[i] * g[i];
      Real second = v[i];
      if (LARGEST) {
        second = vmax[i] > second ? vmax[i] : second;
        vmax[i] = second;
      }
      p[i] = p[i] * shrink - by * m[i] / (root(second) * scale + eps);
    }
  }
  static FUSED_FN float root(float x) { return __builtin_sqrtf(x); }
  static FUSED_FN double root(double x) { return __builtin_sqrt(x); }

  // Scales the incoming weights of every trained unit down to norm max_norm where they exceed it.
  FUSED_FN void constrain() {
    const Real most = (Real)c.max_norm;
    for (int l = c.readout ? c.depth : 0; l <= c.depth; l++) {
      const Layer at = layer_of<Tiles>(c, l);
      FUSED_EACH(o, at.fan_out) {
        Real* weights = a.params + at.weights + o * at.row;
        constexpr int LANES = 16;
        Real lanes[LANES] = {}, total = 0;
        for (int i = 0; i < at.row; i += LANES)
          for (int k = 0; k < LANES; k++) lanes[k] += weights[i + k] * weights[i + k];
        for (int k = 0; k < LANES; k++) total += lanes[k];
        const Real norm = root(total);
        if (norm > most)
          for (int i = 0; i < at.row; i++) weights[i] *= most / norm;
      }
    }
    Tiles::sync();
  }
};

}  // namespace fused
