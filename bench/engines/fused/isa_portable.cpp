// The core for any processor, in a namespace of its own: the linker must not hand its functions to others.
#define fused fused_portable
#include "cpu_tiles.h"
#include "train_cell.h"

extern "C" bool memcap_train_portable(void* given) {
  fused::Task& task = *(fused::Task*)given;
  return task.is_double ? fused::train_cell<fused::CpuTiles<double, 2, 2, 4>>(task)
                        : fused::train_cell<fused::CpuTiles<float, 4, 2, 4>>(task);
}
