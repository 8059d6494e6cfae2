// The core for processors with AVX-512, in a namespace of its own: the linker must not hand its functions to others.
#define fused fused_avx512
#include "cpu_tiles.h"
#include "train_cell.h"

extern "C" bool memcap_train_avx512(void* given) {
  fused::Task& task = *(fused::Task*)given;
  return task.is_double ? fused::train_cell<fused::CpuTiles<double, 8, 4, 6>>(task)
                        : fused::train_cell<fused::CpuTiles<float, 16, 4, 6>>(task);
}
