/* A plugin of QEMU's that prints how many instructions a program has executed; the few declarations of its interface that
 * it uses stand here, as distributions leave the header out. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

typedef uint64_t Id;
typedef struct qemu_plugin_tb Block;
enum { ADD_U64 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(Id, void (*)(Id, Block *));
extern size_t qemu_plugin_tb_n_insns(const Block *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(Block *, int, void *, uint64_t);
extern void qemu_plugin_register_atexit_cb(Id, void (*)(Id, void *), void *);

int qemu_plugin_version = 1;
static uint64_t executed;

static void translated(Id id, Block *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

static void ended(Id id, void *data) {
    (void)id, (void)data;
    fprintf(stderr, "instructions: %" PRIu64 "\n", executed);
}

int qemu_plugin_install(Id id, const void *info, int count, char **arguments) {
    (void)info, (void)count, (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
