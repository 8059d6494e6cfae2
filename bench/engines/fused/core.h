// One training core for every engine: the walk over epochs, batches, blocks of samples and layers of ONE cell, and all of the
// protocol's arithmetic. `Tiles` supplies three small matrix products and how threads share work: every loop here is
//     for (int i = Tiles::tid(); i < n; i += Tiles::threads()) ...
// followed by Tiles::sync(). Activations are kept [unit][sample], a block of samples at a time, on chip.
//
// Several blocks of threads may form a team that trains one cell. The samples of a batch are dealt to `shares`, as many as its size
// alone says; each share has a gradient of its own, and they are added in their order, so that the sums are the same bits
// whatever the size of the team.
#pragma once
#include "activations.h"
#include "cdf.h"
#include "outputs.h"
#include "philox.h"
#include "spec.h"

namespace fused {

#define FUSED_EACH(i, n) for (int i = Tiles::tid(); i < (n); i += Tiles::threads())
// Units by samples, neighbouring threads at neighbouring samples.
#define FUSED_GRID(u, units, s, span)                             \
  for (int u = Tiles::row(); u < (units); u += Tiles::rows())     \
    for (int s = Tiles::lane(); s < (span); s += Tiles::lanes())
// Targets of a block of samples.
#define FUSED_TARGETS(o, s) FUSED_ROLLED for (int o = 0; o < target_rows(c); o++) FUSED_EACH(s, BLOCK)
// Calls of draws by samples, as many of these at once as Tiles draws for.
#define FUSED_DRAWS(call, calls, s, span)                              \
  for (int call = Tiles::row(); call < (calls); call += Tiles::rows()) \
    for (int s = Tiles::lane() * Tiles::DRAWS; s < (span); s += Tiles::lanes() * Tiles::DRAWS)
// Shared by all threads of a team; followed by Tiles::team_sync().
#define FUSED_TEAM(i, first, n) \
  for (int i = (first) + Tiles::rank() * Tiles::threads() + Tiles::tid(); i < (n); i += Tiles::team() * Tiles::threads())

// Numbers of parameters and their like, of which a thread takes Tiles::AT_ONCE neighbours, the same ones in every such loop: so none waits
// for another between them.
#define FUSED_PIECES(piece, first, n) FUSED_TEAM(piece, (first) / Tiles::AT_ONCE, (n) / Tiles::AT_ONCE)
#define FUSED_NUMBERS(i, first, n)     \
  FUSED_PIECES(piece, first, n)        \
    FUSED_UNROLL for (int i = piece * Tiles::AT_ONCE; i < (piece + 1) * Tiles::AT_ONCE; i++)

// The least number of float32 with a full fraction.
const double LEAST = 0x1p-126;

FUSED_FN int padded(int count, int granule) { return (count + granule - 1) / granule * granule; }

// Numbers from one row of weights to the next. Rows a multiple of 256 numbers apart would meet in the same few places of a cache.
template <class Tiles> FUSED_FN int row_of(int fan_out, int fan_in) {
  if (Tiles::by_lanes(fan_out, fan_in)) return fan_in;
  const int row = padded(fan_in, Tiles::PAD);
  return row % 256 ? row : row + Tiles::PAD;
}

// Where the weights and biases of layer l lie in a flat array, whole numbers of Tiles::PAD for each layer; padding is zero for ever.
// Gradients from `summed` on are sums by lanes, the first of them in `lanes`: those of biases, or of all.
struct Layer {
  int fan_in, fan_out, row, weights, biases, end, summed, lanes;
};
template <class Tiles> FUSED_FN Layer layer_at(int fan_out, int fan_in, int weights, int lanes) {
  const int row = row_of<Tiles>(fan_out, fan_in), biases = weights + fan_out * row, end = weights + padded(fan_out * row + fan_out, Tiles::PAD);
  return {fan_in, fan_out, row, weights, biases, end, Tiles::by_lanes(fan_out, fan_in) ? weights : biases, lanes};
}
// Sums by lanes of a layer.
FUSED_FN int sums_of(const Layer& at) { return at.biases + at.fan_out - at.summed; }
template <class Tiles> FUSED_FN Layer layer_of(const Spec& c, int l) {
  const int fan_out = l < c.depth ? c.width : c.n_outputs;
  if (l == 0) return layer_at<Tiles>(fan_out, c.d_in, 0, 0);
  const Layer first = layer_at<Tiles>(c.width, c.d_in, 0, 0), next = layer_at<Tiles>(c.width, c.width, 0, 0);
  return layer_at<Tiles>(fan_out, c.width, first.end + (l - 1) * next.end, sums_of(first) + (l - 1) * sums_of(next));
}
template <class Tiles> FUSED_FN int n_padded_params(const Spec& c) { return layer_of<Tiles>(c, c.depth).end; }

// Numbers of scratch for sums by lanes.
template <class Tiles> FUSED_FN long long lanes_size(const Spec& c) {
  const Layer last = layer_of<Tiles>(c, c.depth);
  return (long long)(last.lanes + sums_of(last)) * Tiles::LANES;
}

template <class Tiles> FUSED_FN bool keeps_inputs(const Spec& c) { return c.activation == GELU || c.activation == SILU; }

// Whether the deltas of a layer take the place of its activations, which are spent by then. A slope is told from activations where it is
// not from their signs alone, and so after the deltas.
template <class Tiles> FUSED_FN bool in_place(const Spec& c) { return Tiles::IN_PLACE && c.activation == RELU; }

// Philox calls for one sample of one hidden layer.
FUSED_FN int calls_of(const Spec& c) { return (c.width + UNITS_PER_CALL - 1) / UNITS_PER_CALL; }

// Rows of a block's inputs: features, and where noise is added those that its last call draws beside them, which nobody reads.
FUSED_FN int input_rows(const Spec& c) { return c.input_noise > 0 ? padded(c.d_in, NORMALS_PER_CALL) : c.d_in; }

// Words that say which units of a block are kept.
template <class Tiles> FUSED_FN long long kept_size(const Spec& c) {
  return c.dropout > 0 ? (long long)c.depth * calls_of(c) * Tiles::BLOCK : 0;
}

// Numbers of scratch that a cell needs. Words and ints are given the room of a Real.
template <class Tiles> FUSED_FN long long scratch_size(const Spec& c) {
  const long long layer = (long long)c.width * Tiles::LD;
  const int kept = 1 + keeps_inputs<Tiles>(c) + (c.dropout > 0);
  const int layers = c.depth * kept + (in_place<Tiles>(c) ? 0 : 2);
  const long long blocks = target_rows(c) + 2LL + (c.loss == CROSS_ENTROPY);
  return layers * layer + (input_rows(c) + (long long)c.n_outputs) * Tiles::LD + blocks * Tiles::BLOCK + Tiles::TURNED +
         lanes_size<Tiles>(c) + kept_size<Tiles>(c);
}

// A batch of `count` samples is dealt to this many shares.
template <class Tiles> FUSED_FN int shares_of(int count) {
  const int most = count / Tiles::SHARE_SAMPLES;
  return most > Tiles::SHARES ? Tiles::SHARES : most > 1 ? most : 1;
}

// Samples as features [d_in][row], row a whole number of blocks, zero beyond the last sample; likewise targets [target_rows][row].
template <class Real> struct Data {
  Real *inputs, *targets;
  int row;
};

template <class Real> struct Arrays {
  Real *params, *moment1, *moment2, *moment2_max;  // each n_padded_params
  Real* gradient;                                  // one for each share
  Data<Real> train, val;
  Real* scratch;
  Real* sums;           // of losses: of training samples for each share, then of validation samples; of labels then those that are not right
  int* order;           // n_samples, for shuffled batches
  const double* rates;  // of each epoch, the last of them for all that follow
  int n_rates;
  double *tau, *val_mse, *recalled;  // of `room` epochs from `first` on, out
  int first, room;
};

template <class Tiles> class Core {
 public:
  typedef typename Tiles::Real Real;
  static constexpr int BLOCK = Tiles::BLOCK;
  static constexpr int LD = Tiles::LD;  // numbers from one unit of a block to the next

  // All that follows is the same for all threads of a block, and does not change while the cell trains.
  FUSED_FN void set_up(const Spec& spec, const Arrays<Real>& arrays) {
    c = spec;
    a = arrays;
    layer_numbers = c.width * LD;
    acts = a.scratch;
    pre = keeps_inputs<Tiles>(c) ? acts + c.depth * layer_numbers : acts;
    fed = c.dropout > 0 ? pre + c.depth * layer_numbers : acts;
    delta = (c.dropout > 0 ? fed : pre) + c.depth * layer_numbers;
    residual = delta + (in_place<Tiles>(c) ? 0 : 2) * layer_numbers;
    batch_inputs = residual + c.n_outputs * LD;
    batch_targets = batch_inputs + input_rows(c) * LD;
    squares = batch_targets + target_rows(c) * BLOCK;
    samples = (int*)(squares + BLOCK);
    turned = squares + 2 * BLOCK;
    lanes = turned + Tiles::TURNED;
    kept = (Word*)(lanes + lanes_size<Tiles>(c));
    misses = lanes + lanes_size<Tiles>(c) + kept_size<Tiles>(c);
    apart = c.batch_size < c.n_samples || (!Tiles::MEASURED_BESIDE && draws());
    size = n_padded_params<Tiles>(c);
    // A trained readout alone leaves the layers below it as they are.
    first_trained = c.readout && c.depth ? layer_of<Tiles>(c, c.depth).weights : 0;
  }

  FUSED_FN const Arrays<Real>& arrays() const { return a; }

  // Goes on from `progress`, until the cell ends, its record is full, or the host says pause, asked before every epoch, or stop,
  // asked before every block of samples, since an epoch may take long. `host` has `pauses()` and `stopped()`, the same for all
  // threads of a team, and `epoch_done()`.
  template <class Host> FUSED_FN void train(Host& host, Progress& progress) {
    Progress at = progress;
    if (at.state == FRESH) {
      at.power1 = at.power2 = 1;
      at.best_val = infinity();
    }
    at.state = PAUSED;
    while (at.epoch - a.first < a.room && !host.pauses()) {
      const bool goes_on = measure_epoch(host, at);
      if (host.stopped()) at.state = STOPPED;
      else if (!goes_on) at.state = ENDED;
      if (at.state != PAUSED) break;
      host.epoch_done();
      train_epoch(host, at);
      at.epoch++;
    }
    Tiles::team_sync();
    if (writes()) progress = at;
    Tiles::team_sync();
  }

  // Outputs of the first `count` training samples, in evaluation mode.
  FUSED_CALL void predict(int count, double* outputs) {
    for (int start = 0; start < count; start += BLOCK) {
      const int n = count - start < BLOCK ? count - start : BLOCK;
      const Inputs in = inputs_of(a.train, start);
      forward(in.first, in.row, n, false);
      if (several()) {
        FUSED_ROLLED for (int o = 0; o < c.n_outputs; o++)
          FUSED_EACH(s, n) outputs[(long long)(start + s) * c.n_outputs + o] = residual[o * LD + s];
      } else {
        FUSED_EACH(s, n) outputs[start + s] = residual[s];
      }
      Tiles::sync();
    }
  }

 private:
  Spec c;
  Arrays<Real> a;
  int layer_numbers, size, first_trained;
  bool apart;
  Real *acts, *pre, *fed, *delta, *residual, *batch_inputs, *batch_targets, *squares, *turned, *lanes, *misses;
  bool fresh;    // whether sums by lanes begin anew
  int* samples;  // of a batch's block: places in the training set
  Word* kept;    // a bit for each unit of a call: [layer][call][sample]

  // Of several outputs the last layer is one of tiles, as others are, and losses are those of outputs.h.
  FUSED_FN bool several() const { return c.n_outputs > 1; }
  FUSED_FN bool labels() const { return c.loss == CROSS_ENTROPY; }
  FUSED_FN bool drops() const { return c.dropout > 0 && c.depth > 0; }
  FUSED_FN bool draws() const { return drops() || c.input_noise > 0; }
  // Whether products drop from their results as they leave the registers.
  FUSED_FN bool drops_at_once(bool dropping) const { return Tiles::DROPS && dropping && c.activation == RELU; }
  FUSED_FN Real scale_kept() const { return (Real)((double)HALF_WORDS / (HALF_WORDS - drop_threshold(c.dropout))); }
  FUSED_FN Word* kept_of(int layer) const { return kept + layer * calls_of(c) * BLOCK; }

  // One thread of a team writes what is for the host.
  static FUSED_FN bool writes() { return Tiles::rank() == 0 && Tiles::tid() == 0; }

  // Takes the measures of this epoch; whether the cell goes on. In full batches the gradient comes with them, unless `apart`.
  template <class Host> FUSED_CALL bool measure_epoch(Host& host, Progress& at) {
    const bool last = at.epoch == c.max_epochs;
    const Real tau = errors_of(host, false, !apart && !last, at.step) / (Real)c.variance;
    if (writes()) a.tau[at.epoch - a.first] = tau;
    bool goes_on = tau > (Real)c.tau && is_finite(tau) && !last;
    if (labels()) {
      const double wrong = total_of(a.sums + 2 * Tiles::SHARES, shares_of<Tiles>(c.n_samples));
      if (writes()) a.recalled[at.epoch - a.first] = c.n_samples - wrong;
      if (c.criterion == RECALL) goes_on = wrong > 0 && is_finite(tau) && !last;
    }
    if (c.n_val) {
      const Real val = errors_of(host, true, false, at.step);
      if (writes()) a.val_mse[at.epoch - a.first] = val;
      if (val < (Real)at.best_val) {
        at.best_val = val;
        at.best_epoch = at.epoch;
      }
      goes_on = goes_on && (c.patience < 0 || at.epoch - at.best_epoch < c.patience);
    }
    return goes_on;
  }

  // The updates of an epoch.
  template <class Host> FUSED_CALL void train_epoch(Host& host, Progress& at) {
    if (c.shuffle && c.batch_size < c.n_samples)
      draw_order(a.order, c.order_key[0], c.order_key[1], at.epoch, c.n_samples);
    const double rate = a.rates[at.epoch < a.n_rates ? at.epoch : a.n_rates - 1];
    const int batch = apart ? c.batch_size : c.n_samples;
    for (int start = 0; start < c.n_samples && !host.stopped(); start += batch, at.step++) {
      const int count = c.n_samples - start < batch ? c.n_samples - start : batch;
      if (apart) gradient_of_batch(host, start, count, at.step);
      at.power1 *= c.beta1;
      at.power2 *= c.beta2;
      update(rate, at.power1, at.power2, shares_of<Tiles>(count));
    }
  }

  // A function of its own, which gets numbers alone: what stands beside it in a caller leaves it as fast.
  static FUSED_ASIDE void draw_order(int* places, Word key0, Word key1, int epoch, int count) {
    const Word key[2] = {key0, key1};
    const Order order(key, epoch, count);
    FUSED_TEAM(i, 0, count) places[i] = (int)order.at((Word)i);
    Tiles::team_sync();
  }

  FUSED_FN Real* gradient_of(int share) const { return a.gradient + (long long)share * size; }

  FUSED_FN void clear_gradient(Real* gradient) {
    if constexpr (Tiles::LANES > 0) fresh = true;
    for (int i = first_trained + Tiles::tid(); i < size; i += Tiles::threads()) gradient[i] = 0;
    Tiles::sync();
  }

  // The gradient of a share is whole when what was summed by lanes is added up.
  FUSED_FN void complete(Real* gradient) {
    if constexpr (Tiles::LANES > 0)
      for (int l = c.readout ? c.depth : 0; l <= c.depth; l++) {
        const Layer at = layer_of<Tiles>(c, l);
        Tiles::add_lanes(gradient + at.summed, lanes + at.lanes * Tiles::LANES, sums_of(at));
      }
  }

  // Outputs of a block into `residual`; what the backward pass needs stays in acts, pre and fed. `begun`: the first layer is as the
  // same inputs have left it.
  FUSED_CALL void forward(const Real* in, int in_row, int n, bool dropping, int step = 0, bool begun = false) {
    const int span = padded(n, BLOCK / 4);
    for (int l = 0; l < c.depth; l++) {
      const Layer at = layer_of<Tiles>(c, l);
      Real* z = pre + l * layer_numbers;
      Real* out = acts + l * layer_numbers;
      const Real *weights = a.params + at.weights, *biases = a.params + at.biases;
      if (begun && l == 0) {
      } else if (drops_at_once(dropping)) {
        if constexpr (Tiles::DROPS) {
          Real* dropped = fed + l * layer_numbers;
          draw_kept(l, n, step);
          Tiles::affine_dropped(dropped, weights, at.row, biases, in, in_row, at.fan_out, at.fan_in, n, kept_of(l), scale_kept());
          in = dropped;
          in_row = LD;
          continue;
        }
      } else if (c.activation == RELU) {
        Tiles::template affine<true>(out, weights, at.row, biases, in, in_row, at.fan_out, at.fan_in, n);
        Tiles::sync();
      } else {
        Tiles::template affine<false>(z, weights, at.row, biases, in, in_row, at.fan_out, at.fan_in, n);
        Tiles::sync();
        activate_layer(z, out, at.fan_out, span);
      }
      in = out;
      in_row = LD;
      if (dropping) {
        Real* dropped = fed + l * layer_numbers;
        draw_kept(l, n, step);
        drop(out, dropped, l, at.fan_out, n);
        in = dropped;
      }
    }
    const Layer at = layer_of<Tiles>(c, c.depth);
    const Real *weights = a.params + at.weights, *biases = a.params + at.biases;
    if (several()) Tiles::template affine<false>(residual, weights, at.row, biases, in, in_row, at.fan_out, at.fan_in, n);
    else Tiles::template affine<false>(residual, weights, at.row, biases, in, in_row, 1, at.fan_in, n);
    Tiles::sync();
  }

  FUSED_CALL void activate_layer(const Real* z, Real* out, int units, int span) {
    switch (c.activation) {
      case LEAKY_RELU: return each_activation<LEAKY_RELU>(z, out, units, span);
      case TANH: return each_activation<TANH>(z, out, units, span);
      case GELU: return each_activation<GELU>(z, out, units, span);
      case SILU: return each_activation<SILU>(z, out, units, span);
      default: return each_activation<SIGMOID>(z, out, units, span);
    }
  }
  template <int KIND> FUSED_FN void each_activation(const Real* z, Real* out, int units, int span) {
    FUSED_GRID(u, units, s, span) out[u * LD + s] = activate<Real>(KIND, z[u * LD + s]);
    Tiles::sync();
  }

  // below *= slope of the activation.
  FUSED_CALL void slope_layer(Real* below, const Real* z, const Real* out, int units, int span) {
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
    FUSED_GRID(u, units, s, span) {
      const int i = u * LD + s;
      if (KIND == RELU) below[i] = out[i] <= 0 ? 0 : below[i];
      else below[i] *= slope<Real>(KIND, z[i], out[i]);
    }
    Tiles::sync();
  }

  // Which units of a layer are kept at this step.
  FUSED_CALL void draw_kept(int layer, int n, int step) {
    const Word below = drop_threshold(c.dropout);
    const int span = padded(n, BLOCK / 4);
    Word* bits = kept_of(layer);
    FUSED_DRAWS(call, calls_of(c), s, span) {
      const bool all_four = c.width - call * UNITS_PER_CALL > UNITS_PER_CALL / 2;
      const auto drawn = Tiles::draw((Word)step, (Word)layer, (Word)call, samples + s, c.dropout_key, all_four);
      *(typename Tiles::Draw*)(bits + call * BLOCK + s) = Tiles::kept(drawn, below, all_four);
    }
    Tiles::sync();
  }

  // to = from, scaled up, where the unit is kept, else 0.
  FUSED_FN void drop(const Real* from, Real* to, int layer, int units, int n) {
    const Real scale = scale_kept();
    const int span = padded(n, BLOCK / 4);
    for (int u = Tiles::row(); u < units; u += Tiles::rows()) {
      const Word* bits = kept_of(layer) + u / UNITS_PER_CALL * BLOCK;
      const Word bit = Tiles::unit_bit(u);
      for (int s = Tiles::lane(); s < span; s += Tiles::lanes()) {
        const Real scaled = from[u * LD + s] * scale;  // read in any case: so the loop vectorizes
        to[u * LD + s] = bits[s] & bit ? scaled : 0;
      }
    }
    Tiles::sync();
  }

  // The inputs of a block of samples: where they are, or, if tiles are for what is on chip, there.
  struct Inputs {
    const Real* first;
    int row;
  };
  FUSED_FN Inputs inputs_of(const Data<Real>& data, int start) {
    if (!Tiles::STAGED) return {data.inputs + start, data.row};
    FUSED_GRID(f, c.d_in, s, BLOCK) batch_inputs[f * LD + s] = data.inputs[f * data.row + start + s];
    Tiles::sync();
    return {batch_inputs, LD};
  }

  // Loss over the validation samples or the training samples, in evaluation mode: the mean of the squared residuals, or of what labels
  // cost, of which `a.sums` has a number for each share. With `gradient`, that of the same samples, by the draws of this step if there
  // are any, comes into those of the shares: each block is still at hand, and dropout begins behind a first layer that is known. What
  // can be told from a few numbers is told again where it is needed: what lives across the calls costs them registers.
  template <class Host> FUSED_CALL Real errors_of(Host& host, bool validation, bool gradient, int step) {
    const Data<Real>& data = validation ? a.val : a.train;
    const int count = validation ? c.n_val : c.n_samples, shares = shares_of<Tiles>(count);
    Real* sums = a.sums + (validation ? Tiles::SHARES : 0);
    for (int share = Tiles::rank(); share < shares; share += Tiles::team()) {
      if (gradient) clear_gradient(gradient_of(share));
      FUSED_EACH(s, BLOCK) squares[s] = 0;
      if (labels()) FUSED_EACH(s, BLOCK) misses[s] = 0;
      for (int start = first_of(share, shares, count), end = first_of(share + 1, shares, count); start < end; start += BLOCK) {
        if (host.stopped()) break;
        const int n = count - start < BLOCK ? count - start : BLOCK;
        const Inputs in = inputs_of(data, start);
        forward(in.first, in.row, n, false);
        if (several()) {
          judge(data.targets + start, data.row, n, true);
        } else {
          subtract(data.targets + start, n);
          FUSED_EACH(s, BLOCK) squares[s] += residual[s] * residual[s];
        }
        Tiles::sync();
        if (gradient && Tiles::MEASURED_BESIDE && draws()) gradient_of_block(share, start, n, count, step, false, !(c.input_noise > 0));
        else if (gradient) backward(share, in.first, in.row, n, count, false);
      }
      if (gradient) complete(gradient_of(share));
      Tiles::sync();
      add_up(squares);
      if (Tiles::tid() == 0) sums[share] = squares[0];
      if (labels() && !validation) {
        add_up(misses);
        if (Tiles::tid() == 0) a.sums[2 * Tiles::SHARES + share] = misses[0];
      }
      Tiles::sync();
    }
    Tiles::team_sync();
    return (Real)(total_of(sums, shares) / ((double)count * target_rows(c)));
  }
  // The sum of a block's numbers, into the first of them.
  FUSED_FN void add_up(Real* numbers) {
    for (int half = BLOCK / 2; half; half /= 2) {
      FUSED_EACH(s, half) numbers[s] += numbers[s + half];
      Tiles::sync();
    }
  }
  static FUSED_FN double total_of(const Real* sums, int shares) {
    double total = 0;
    FUSED_ROLLED for (int share = 0; share < shares; share++) total += sums[share];
    return total;
  }

  // The same of several outputs as `subtract` for one, with losses into `squares`, if `measured`, and what of labels is not right.
  FUSED_FN void judge(const Real* targets, int row, int n, bool measured) {
    Real* losses = measured ? squares : nullptr;
    if (labels()) judge_labels<Tiles>(residual, c.n_outputs, targets, n, losses, misses);
    else judge_numbers<Tiles>(residual, c.n_outputs, targets, row, n, losses);
  }

  // The outputs of a block become residuals: output - target, and zero beyond the n-th. The hinge takes those off where the
  // output lies beyond its target, seen from zero. NaN lies nowhere, and stays.
  FUSED_FN void subtract(const Real* targets, int n) {
    if (c.loss == HINGE) each_residual<true>(targets, n);
    else each_residual<false>(targets, n);
  }
  template <bool HINGED> FUSED_FN void each_residual(const Real* targets, int n) {
    FUSED_EACH(s, BLOCK) {
      const Real error = residual[s] - targets[s];
      const Real left = HINGED && error * targets[s] > 0 ? 0 : error;
      residual[s] = s < n ? left : 0;
    }
  }

  // The first sample of a share: a whole number of blocks.
  static FUSED_FN int first_of(int share, int shares, int count) {
    return (int)((long long)((count + BLOCK - 1) / BLOCK) * share / shares) * BLOCK;
  }

  // The gradient of the loss over one batch of an epoch, whose samples are gathered, shaken and dropped from.
  template <class Host> FUSED_CALL void gradient_of_batch(Host& host, int start, int count, int step) {
    const bool shuffled = c.shuffle && c.batch_size < c.n_samples;
    const int shares = shares_of<Tiles>(count);
    for (int share = Tiles::rank(); share < shares; share += Tiles::team()) {
      clear_gradient(gradient_of(share));
      for (int at = first_of(share, shares, count), end = first_of(share + 1, shares, count); at < end; at += BLOCK) {
        if (host.stopped()) break;
        gradient_of_block(share, start + at, count - at < BLOCK ? count - at : BLOCK, count, step, shuffled, false);
      }
      complete(gradient_of(share));
    }
    Tiles::team_sync();
  }
  // That of a block of it, the n samples from `first` on. `begun`: as in `forward`.
  FUSED_FN void gradient_of_block(int share, int first, int n, int count, int step, bool shuffled, bool begun) {
    if (shuffled) FUSED_EACH(s, BLOCK) samples[s] = a.order[first + (s < n ? s : 0)];
    else FUSED_EACH(s, BLOCK) samples[s] = first + (s < n ? s : 0);
    Tiles::sync();
    Inputs in = batch_of(first, n, shuffled);
    if (c.input_noise > 0) in = shake(in, n, step);
    forward(in.first, in.row, n, drops(), step, begun);
    if (several()) judge(batch_targets, BLOCK, n, false);
    else subtract(batch_targets, n);
    Tiles::sync();
    backward(share, in.first, in.row, n, count, drops());
  }

  // The inputs and targets of a block of a batch, zero beyond the n-th sample: a copy where the batch is shuffled, ends within a block
  // of samples, or is changed where it is.
  FUSED_CALL Inputs batch_of(int first, int n, bool shuffled) {
    if (!shuffled && c.batch_size == c.n_samples && !(Tiles::STAGED && c.input_noise > 0)) {
      FUSED_TARGETS(o, s) batch_targets[o * BLOCK + s] = a.train.targets[(long long)o * a.train.row + first + s];
      return inputs_of(a.train, first);
    }
    FUSED_TARGETS(o, s) batch_targets[o * BLOCK + s] = s < n ? a.train.targets[(long long)o * a.train.row + samples[s]] : 0;
    if (shuffled) {
      FUSED_GRID(f, c.d_in, s, n) batch_inputs[f * LD + s] = a.train.inputs[f * a.train.row + samples[s]];
    } else {
      FUSED_GRID(f, c.d_in, s, n) batch_inputs[f * LD + s] = a.train.inputs[f * a.train.row + first + s];
    }
    FUSED_GRID(f, c.d_in, s, BLOCK - n) batch_inputs[f * LD + n + s] = 0;
    Tiles::sync();
    return {batch_inputs, LD};
  }

  // A batch's inputs with fresh normal noise, in `batch_inputs`: all features of a call, since a condition would keep compilers from making
  // vectors. Those that a cell does not have are made of its last one, and nobody reads them.
  FUSED_CALL Inputs shake(const Inputs& in, int n, int step) {
    typedef typename Tiles::Numbers Numbers;
    const Real amount = (Real)c.input_noise;
    FUSED_DRAWS(call, input_rows(c) / NORMALS_PER_CALL, s, n) {
      const auto drawn = Tiles::draw((Word)step, 0, (Word)call, samples + s, c.noise_key);
      for (int pair = 0; pair < 2; pair++) {
        const auto normals = Tiles::normals(drawn.w[2 * pair], drawn.w[2 * pair + 1]);
        Real* to = batch_inputs + (call * NORMALS_PER_CALL + 2 * pair) * LD + s;
        if constexpr (Tiles::STAGED) {
          *(Numbers*)to += amount * normals.cosine;
          *(Numbers*)(to + LD) += amount * normals.sine;
        } else {
          const int feature = call * NORMALS_PER_CALL + 2 * pair, last = c.d_in - 1;
          *(Numbers*)to = *(const Numbers*)(in.first + (feature < last ? feature : last) * in.row + s) + amount * normals.cosine;
          *(Numbers*)(to + LD) = *(const Numbers*)(in.first + (feature < last ? feature + 1 : last) * in.row + s) + amount * normals.sine;
        }
      }
    }
    Tiles::sync();
    return {batch_inputs, LD};
  }

  // Adds the gradient of a block's residuals, which are scaled to their part of the mean over `count` samples, to that of a share.
  FUSED_CALL void backward(int share, const Real* in, int in_row, int n, int count, bool dropping) {
    Real* gradient = gradient_of(share);
    const int span = padded(n, BLOCK / 4);
    if (several()) {
      scale_outputs<Tiles>(residual, c.n_outputs, (Real)((labels() ? 1 : 2.0 / c.n_outputs) / count));
    } else {
      const Real part = (Real)2 / (Real)count;
      FUSED_EACH(s, BLOCK) residual[s] *= part;
    }
    Tiles::sync();
    const Real* above = residual;
    for (int l = c.depth; l >= 0; l--) {
      const Layer at = layer_of<Tiles>(c, l);
      const Real* below_fed = l ? (dropping ? fed : acts) + (l - 1) * layer_numbers : in;
      if constexpr (Tiles::LANES > 0)
        Tiles::outer(gradient + at.weights, at.row, lanes + at.lanes * Tiles::LANES, fresh, above, below_fed, l ? LD : in_row, at.fan_out,
                     at.fan_in, n, turned);
      else
        Tiles::outer(gradient + at.weights, at.row, gradient + at.biases, above, below_fed, l ? LD : in_row, at.fan_out, at.fan_in, n,
                     turned);
      Tiles::sync();
      if (l == 0 || c.readout) break;
      Real* out = acts + (l - 1) * layer_numbers;
      Real* below = in_place<Tiles>(c) ? out : delta + l % 2 * layer_numbers;
      const Real* weights = a.params + at.weights;
      if (drops_at_once(dropping)) {
        // What has been fed on is positive where a unit is kept and its slope is 1.
        if constexpr (Tiles::DROPS)
          Tiles::back_dropped(below, weights, at.row, above, below_fed, at.fan_out, at.fan_in, n, scale_kept());
        above = below;
        continue;
      }
      if (c.activation == RELU) Tiles::template back<true>(below, weights, at.row, above, out, at.fan_out, at.fan_in, n);
      else Tiles::template back<false>(below, weights, at.row, above, out, at.fan_out, at.fan_in, n);
      Tiles::sync();
      if (dropping) drop(below, below, l - 1, at.fan_in, n);
      if (c.activation != RELU) slope_layer(below, pre + (l - 1) * layer_numbers, out, at.fan_in, span);
      above = below;
    }
    if constexpr (Tiles::LANES > 0) fresh = false;
  }

  // One optimizer step, as torch.optim's SGD, Adam and AdamW take it, with the sum of the shares' gradients.
  FUSED_CALL void update(double rate, double power1, double power2, int shares) {
    const int first = first_trained;
    Real *p = a.params, *g = a.gradient, *m = a.moment1;
    if (shares > 1)
      FUSED_NUMBERS(i, first, size) {
        Real sum = g[i];
        for (int share = 1; share < shares; share++) sum += g[(long long)share * size + i];
        g[i] = sum;
      }
    const Real decay = (Real)(c.optimizer == ADAMW ? 0 : c.weight_decay), l1 = (Real)c.l1;
    if (decay != 0 || l1 != 0)
      FUSED_NUMBERS(i, first, size) {
        const Real sign = (Real)((p[i] > 0) - (p[i] < 0));
        g[i] = g[i] + decay * p[i] + l1 * sign;
      }
    if (c.optimizer == SGD) {
      const Real momentum = (Real)c.momentum, by = (Real)rate;
      FUSED_NUMBERS(i, first, size) {
        m[i] = momentum * m[i] + g[i];
        p[i] -= by * m[i];
      }
    } else {
      if (c.amsgrad) adam<true>(rate, power1, power2);
      else adam<false>(rate, power1, power2);
    }
    Tiles::team_sync();
    if (c.max_norm < infinity()) constrain();
  }

  template <bool LARGEST> FUSED_FN void adam(double rate, double power1, double power2) {
    Real* __restrict p = a.params;
    Real* __restrict m = a.moment1;
    Real* __restrict v = a.moment2;
    Real* __restrict vmax = a.moment2_max;
    const Real* __restrict g = a.gradient;
    const Real keep1 = (Real)(1 - c.beta1), beta2 = (Real)c.beta2, keep2 = (Real)(1 - c.beta2);
    // Where both moments are zero a step is none.
    const Real eps = c.eps > LEAST ? (Real)c.eps : (Real)LEAST;
    const Real by = (Real)(rate / (1 - power1)), scale = (Real)(1 / root(1 - power2));
    const Real shrink = (Real)(c.optimizer == ADAMW ? 1 - rate * c.weight_decay : 1);
    const auto step = [=](Real& p, Real& m, Real& v, Real& vmax, Real g) {
      m += keep1 * (g - m);
      v = beta2 * v + keep2 * g * g;
      Real second = v;
      if (LARGEST) {
        second = vmax > second ? vmax : second;
        vmax = second;
      }
      p = p * shrink - by * m / (root(second) * scale + eps);
    };
    if constexpr (Tiles::AT_ONCE == 1) {
      FUSED_TEAM(i, first_trained, size) step(p[i], m[i], v[i], LARGEST ? vmax[i] : v[i], g[i]);
    } else {
      // Arrays and layers are whole numbers of such pieces.
      struct alignas(16) Piece {
        Real v[Tiles::AT_ONCE];
      };
      FUSED_PIECES(piece, first_trained, size) {
        Piece ps = ((Piece*)p)[piece], ms = ((Piece*)m)[piece], vs = ((Piece*)v)[piece], largest;
        const Piece gs = ((const Piece*)g)[piece];
        if (LARGEST) largest = ((Piece*)vmax)[piece];
        FUSED_UNROLL for (int k = 0; k < Tiles::AT_ONCE; k++) step(ps.v[k], ms.v[k], vs.v[k], largest.v[k], gs.v[k]);
        ((Piece*)p)[piece] = ps;
        ((Piece*)m)[piece] = ms;
        ((Piece*)v)[piece] = vs;
        if (LARGEST) ((Piece*)vmax)[piece] = largest;
      }
    }
  }

  // Scales the incoming weights of every trained unit down to norm max_norm where they exceed it.
  FUSED_CALL void constrain() {
    const Real most = (Real)c.max_norm;
    for (int l = c.readout ? c.depth : 0; l <= c.depth; l++) {
      const Layer at = layer_of<Tiles>(c, l);
      FUSED_TEAM(o, 0, at.fan_out) {
        Real* weights = a.params + at.weights + o * at.row;
        constexpr int LANES = Tiles::PAD < 16 ? Tiles::PAD : 16;
        Real lanes[LANES] = {}, total = 0;
        int i = 0;
        for (; i + LANES <= at.fan_in; i += LANES)
          for (int k = 0; k < LANES; k++) lanes[k] += weights[i + k] * weights[i + k];
        for (int k = 0; i + k < at.fan_in; k++) lanes[k] += weights[i + k] * weights[i + k];
        for (int k = 0; k < LANES; k++) total += lanes[k];
        const Real norm = root(total);
        if (norm > most)
          for (i = 0; i < at.fan_in; i++) weights[i] *= most / norm;
      }
    }
    Tiles::team_sync();
  }
};

}  // namespace fused
