// What the training core knows of a cell: numbers only, no pointers, the same on host and device.
#pragma once

#if defined(__CUDACC_RTC__) || defined(__CUDACC__)
#define FUSED_FN __host__ __device__ __forceinline__
#else
#define FUSED_FN inline __attribute__((always_inline))
#endif

namespace fused {

typedef unsigned int Word;

// The order of the names in bench/cells.py.
enum Activation { RELU, LEAKY_RELU, TANH, GELU, SILU, SIGMOID };
enum Optimizer { SGD, ADAM, ADAMW };

struct Spec {
  int n_samples, d_in, depth, width, n_val;
  int batch_size;  // n_samples for the full batch
  int shuffle, activation, readout, optimizer, amsgrad;
  int patience;  // negative: no early stopping
  int max_epochs;
  double variance, tau;
  double momentum, beta1, beta2, eps;
  double weight_decay, l1, dropout, input_noise;
  double max_norm;  // infinite: no constraint
  Word dropout_key[2], noise_key[2], order_key[2];
};

// How training came to its end.
enum State { ENDED, STOPPED };

}  // namespace fused
