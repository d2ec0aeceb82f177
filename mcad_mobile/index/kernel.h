/* The loops of a search, in plain C: scan.py and rescore.py hold the same in numpy, for where this is not
 * built, and give the same results bit by bit. Each is compiled for several widths of instructions, of which
 * kernel.py names one: 2 is AVX-512 with VPOPCNTDQ, 1 AVX2, 0 what the compiler takes by itself (NEON on Arm). */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BODY static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define FOR(features) static __attribute__((target(features), noinline))
#define AVX2 FOR("avx2,popcnt")
#define AVX512 FOR("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,popcnt")
#endif
