// What the training core knows of a cell: numbers only, no pointers, the same on host and device.
#pragma once

// FUSED_CALL is of large functions: what lives across their calls need not share registers with what they do, and code called from
// several places is held once. FUSED_UNROLL comes before a loop whose turns are to run beside one another, in registers; FUSED_ROLLED
// before one whose turns shall not. FUSED_ASIDE is of what few cells need: never a part of what all cells run. FUSED_PLAIN is defined
// where a quick build matters more than a quick run.
#if defined(__CUDACC_RTC__)
#define FUSED_FN __device__ __forceinline__
#define FUSED_CALL __device__ __noinline__
#define FUSED_ASIDE FUSED_CALL
#define FUSED_UNROLL _Pragma("unroll")
#define FUSED_ROLLED _Pragma("unroll 1")
#elif defined(FUSED_PLAIN)
#define FUSED_FN inline
#define FUSED_CALL __attribute__((noinline))
#define FUSED_ASIDE FUSED_CALL
#define FUSED_UNROLL
#define FUSED_ROLLED
#else
#define FUSED_FN inline __attribute__((always_inline))
#define FUSED_CALL FUSED_FN
#define FUSED_ASIDE __attribute__((noinline))
#define FUSED_UNROLL _Pragma("GCC unroll 16")
#define FUSED_ROLLED
#endif

namespace fused {

typedef unsigned int Word;

// The order of the names in bench/protocol/cells.py.
enum Activation { RELU, LEAKY_RELU, TANH, GELU, SILU, SIGMOID };
enum Loss { MSE, HINGE, CROSS_ENTROPY };
enum Criterion { TAU, RECALL };
enum Optimizer { SGD, ADAM, ADAMW };
enum Dtype { FLOAT32, FLOAT64, TF32 };

struct Spec {
  int n_samples, d_in, depth, width, n_val;
  int batch_size;  // n_samples for the full batch
  int shuffle, activation, readout, loss, optimizer, amsgrad, dtype;
  int patience;  // negative: no early stopping
  int max_epochs;
  int n_outputs;  // of the last layer: classes where the targets are labels
  int criterion;
  double variance, tau;  // of labels the entropy of their frequencies in nats, which tau is a part of
  double momentum, beta1, beta2, eps;
  double weight_decay, l1, dropout, input_noise;
  double max_norm;  // infinite: no constraint
  Word dropout_key[2], noise_key[2], order_key[2];
};

// FRESH: nothing done yet. PAUSED: it can go on. STOPPED: the host said so within an epoch, and it cannot. SAVED: it goes on from what
// was saved of it as it paused.
enum State { FRESH, PAUSED, ENDED, STOPPED, SAVED };

// How far a cell has come: with its arrays, all that it needs to go on as if it had not paused. All zero: FRESH.
struct Progress {
  int state;
  int epoch;  // the next to be measured; of an ended cell the last that was
  int step, best_epoch;
  double power1, power2, best_val;
};

}  // namespace fused
