// What one instruction set's build of the core gives to module.cpp.
#pragma once
#include "peak.h"
#include "train_cell.h"

#define MEMCAP_BUILD(NAME, FLOAT_TILES, DOUBLE_TILES)                                                            \
  extern "C" bool memcap_train_##NAME(void* given) {                                                             \
    fused::Task& task = *(fused::Task*)given;                                                                    \
    return task.is_double ? fused::train_cell<DOUBLE_TILES>(task) : fused::train_cell<FLOAT_TILES>(task);        \
  }                                                                                                              \
  extern "C" double memcap_multiply_adds_##NAME(bool is_double, long long rounds) {                              \
    return is_double ? fused::multiply_adds<DOUBLE_TILES>(rounds) : fused::multiply_adds<FLOAT_TILES>(rounds);   \
  }
