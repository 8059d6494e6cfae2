// The core for processors with AVX2 and FMA, in a namespace of its own: the linker must not hand its functions to others.
#define fused fused_avx2
#include "cpu_tiles.h"
#include "train_cell.h"

extern "C" bool memcap_train_avx2(void* given) {
  fused::Task& task = *(fused::Task*)given;
  return task.is_double ? fused::train_cell<fused::CpuTiles<double, 4, 2, 5>>(task)
                        : fused::train_cell<fused::CpuTiles<float, 8, 2, 5>>(task);
}
