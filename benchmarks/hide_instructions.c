/* Hides instruction sets from a program that is run on a processor that has them: preloaded, it has
 * the kernel trap CPUID (arch_prctl(2), ARCH_SET_CPUID), and answers with some of the bits cleared.
 * What runs then are the kernels that another processor would get, at this one's speed.
 *
 *   cc -O2 -shared -fPIC -o hide.so hide_instructions.c
 *   LD_PRELOAD=./hide.so HIDE=vnni|avx512|avx2 PROGRAM
 *
 * Each hides what the ones before it do. Bits: Intel SDM, volume 2A, CPUID, leaves 1 and 7. Exit code 3
 * where the processor, or the machine's hypervisor, cannot trap CPUID. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (1u << (n))

static int hidden; /* 1: VNNI and AMX, 2: AVX-512 too, 3: AVX and AVX2 too */

static void mask(unsigned leaf, unsigned subleaf, unsigned *eax, unsigned *ebx, unsigned *ecx,
                 unsigned *edx) {
    if (leaf == 7 && subleaf == 0) {
        *ecx &= ~BIT(11);
        *edx &= ~(BIT(22) | BIT(23) | BIT(24) | BIT(25));
        if (hidden > 1) {
            *ebx &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31));
            *ecx &= ~(BIT(1) | BIT(6) | BIT(12) | BIT(14));
            *edx &= ~(BIT(2) | BIT(3) | BIT(8));
        }
        if (hidden > 2) {
            *ebx &= ~(BIT(3) | BIT(5) | BIT(8));
            *ecx &= ~(BIT(9) | BIT(10));
        }
    } else if (leaf == 7 && subleaf == 1) {
        *eax &= ~(BIT(4) | BIT(5) | BIT(23));
        *edx &= ~(BIT(4) | BIT(5) | BIT(10));
    } else if (leaf == 1 && hidden > 2) {
        *ecx &= ~(BIT(12) | BIT(26) | BIT(27) | BIT(28) | BIT(29));
    }
}

static struct sigaction theirs; /* what the program itself wants of SIGSEGV */

static int set_action(int number, const struct sigaction *wanted, struct sigaction *before) {
    static int (*libc)(int, const struct sigaction *, struct sigaction *);
    if (!libc) {
        *(void **)&libc = dlsym(RTLD_NEXT, "sigaction");
    }
    return libc(number, wanted, before);
}

/* Virtual machines, crash reporters and compilers have a handler of their own: ours stays, and hands
 * on to theirs. */
int sigaction(int number, const struct sigaction *wanted, struct sigaction *before) {
    if (number != SIGSEGV || !hidden) {
        return set_action(number, wanted, before);
    }
    struct sigaction old = theirs;
    if (wanted) {
        theirs = *wanted;
    }
    if (before) {
        *before = old;
    }
    return 0;
}

sighandler_t signal(int number, sighandler_t handler) {
    struct sigaction wanted = {.sa_handler = handler, .sa_flags = SA_RESTART}, before;
    return sigaction(number, &wanted, &before) ? SIG_ERR : before.sa_handler;
}

static void hand_on(int number, siginfo_t *info, void *context) {
    if (theirs.sa_flags & SA_SIGINFO) {
        theirs.sa_sigaction(number, info, context);
    } else if (theirs.sa_handler == SIG_DFL || theirs.sa_handler == SIG_IGN) {
        set_action(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    } else {
        theirs.sa_handler(number);
    }
}

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    unsigned eax, ebx, ecx, edx;
    unsigned leaf = (unsigned)registers[REG_RAX], subleaf = (unsigned)registers[REG_RCX];
    if (info->si_code != SI_KERNEL || code[0] != 0x0f || code[1] != 0xa2) { /* not CPUID */
        hand_on(number, info, context);
        return;
    }
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __cpuid_count(leaf, subleaf, eax, ebx, ecx, edx);
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    mask(leaf, subleaf, &eax, &ebx, &ecx, &edx);
    registers[REG_RAX] = eax;
    registers[REG_RBX] = ebx;
    registers[REG_RCX] = ecx;
    registers[REG_RDX] = edx;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void) {
    static const char *names[] = {"vnni", "avx512", "avx2"};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    const char *asked = getenv("HIDE");
    for (int i = 0; asked && i < 3; i++) {
        if (!strcmp(asked, names[i])) {
            hidden = i + 1;
        }
    }
    if (!hidden) {
        return;
    }
    set_action(SIGSEGV, &action, &theirs);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0)) {
        _exit(3);
    }
}
