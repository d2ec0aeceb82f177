/* The loops of a search. Each is compiled at several instruction levels, one of which the caller names: 2 is AVX-512
 * with VPOPCNTDQ, 1 AVX2, 0 the compiler's default (NEON on Arm). All levels give the same results, bit by bit;
 * tests/support/kernel_oracle.py computes them in numpy. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BODY static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define FOR(features) static __attribute__((target(features), noinline))
#define AVX2 FOR("avx2,popcnt")
#define AVX512 FOR("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,popcnt")
#endif
