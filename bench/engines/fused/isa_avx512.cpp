// The core for processors with AVX-512, in a namespace of its own: the linker must not hand its functions to others.
#define fused fused_avx512
#include "build.h"

typedef fused::CpuTiles<float, 16, 4, 6, 4> FloatTiles;
typedef fused::CpuTiles<double, 8, 4, 6, 4> DoubleTiles;
MEMCAP_BUILD(avx512, FloatTiles, DoubleTiles)
