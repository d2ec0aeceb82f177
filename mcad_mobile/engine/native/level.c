/* The instruction level that this processor supports. The compiler's own check needs a library that phones lack. */
#include "kernel.h"

int mcad_layout(void) { return MCAD_LAYOUT; }

#if defined(__x86_64__)
#include <cpuid.h>

#define BIT(n) (1u << (n))
/* XCR0: the registers that the system saves: 128 and 256 bits, then masks and 512 bits. */
#define SAVES_256 0x06u
#define SAVES_512 0xe6u

static int has(uint32_t found, uint32_t wanted) { return (found & wanted) == wanted; }

static int find_level(void) {
    uint32_t eax, ebx, ecx, edx, saved;
    /* POPCNT, XGETBV and AVX. */
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has(ecx, BIT(23) | BIT(27) | BIT(28))) return 0;
    __asm__("xgetbv" : "=a"(saved), "=d"(edx) : "c"(0));
    /* AVX2 and BMI2. */
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !has(ebx, BIT(5) | BIT(8)) || !has(saved, SAVES_256)) return 0;
    /* AVX-512 F, DQ, BW and VL, and VPOPCNTDQ. */
    return has(ebx, BIT(16) | BIT(17) | BIT(30) | BIT(31)) && has(ecx, BIT(14)) && has(saved, SAVES_512) ? 2 : 1;
}
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#define DOT_PRODUCT (1ul << 20) /* HWCAP_ASIMDDP */
static int find_level(void) { return getauxval(AT_HWCAP) & DOT_PRODUCT ? 2 : 1; }
#elif defined(__aarch64__)
static int find_level(void) { return 2; } /* all of Apple's have it */
#else
static int find_level(void) { return 0; }
#endif

#if defined(__linux__)
#include <sys/auxv.h>
/* Asks the kernel: Android's C library numbers sysconf's names differently from others. */
size_t mcad_page(void) { return (size_t)getauxval(AT_PAGESZ); }
#else
#include <unistd.h>
size_t mcad_page(void) { return (size_t)sysconf(_SC_PAGESIZE); }
#endif

/* Asked once: in a virtual machine CPUID takes as long as a scan of thousands of photos. */
int mcad_level(void) {
    static int known = -1; /* threads that find it at the same time find the same */
    int level = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (level < 0) __atomic_store_n(&known, level = find_level(), __ATOMIC_RELAXED);
    return level;
}
