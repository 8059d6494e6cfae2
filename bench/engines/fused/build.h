// What one instruction set's build of the core gives to module.cpp: cells trained to their end (false where memory ran out), and
// the operations of so many rounds of multiply-adds.
#pragma once
#include "builds.h"
#include "peak.h"
#include "train_cell.h"

#define MEMCAP_BUILD(NAME, FLOAT_TILES, DOUBLE_TILES)                                                            \
  extern "C" bool memcap_train_##NAME(void* given, bool is_double, const bool* stop, int* epochs) {              \
    fused::Task& task = *(fused::Task*)given;                                                                    \
    const fused::CpuHost host{stop, epochs};                                                                     \
    return is_double ? fused::train_cell<DOUBLE_TILES>(task, host) : fused::train_cell<FLOAT_TILES>(task, host); \
  }                                                                                                              \
  extern "C" double memcap_multiply_adds_##NAME(bool is_double, long long rounds) {                              \
    return is_double ? fused::multiply_adds<DOUBLE_TILES>(rounds) : fused::multiply_adds<FLOAT_TILES>(rounds);   \
  }
