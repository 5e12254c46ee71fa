/* SPDX-License-Identifier: MIT
 *
 * A plugin for qemu's user emulation (7.0 or newer) that counts how often each instruction of a
 * program is executed:
 *
 *     gcc -O2 -shared -fPIC count_multiplies.c -o count_multiplies.so
 *     qemu-arm -plugin ./count_multiplies.so,out=counts.txt PROGRAM ...
 *
 * When the program ends, counts.txt gets a line per instruction that was translated: address and
 * count in hexadecimal, symbol ("-": none), disassembly. Which of them multiply, and whose they are,
 * is tests/count_instructions.py's to say, by the pattern of tests/test_no_multiply.py.
 *
 * One thread only: the counters are added to without a lock. The emulator's header is in no package;
 * what is needed of API version 1 is declared here (docs/devel/tcg-plugins.rst of qemu). */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;

/* The functions of the emulator, with its names and types. */
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*callback)(uint64_t, struct qemu_plugin_tb *));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *insn);          /* to be freed */
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *insn);   /* may be null */
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int operation,
                                                void *counter, uint64_t addend);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*callback)(uint64_t, void *), void *data);

/* What the emulator looks for in a plugin. */
__attribute__((visibility("default"))) extern int qemu_plugin_version;
__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int argc,
                                                               char **argv);

int qemu_plugin_version = 1;

typedef struct instruction {
    struct instruction *next;   /* of the same bucket */
    uint64_t address;
    uint64_t count;
    const char *symbol;         /* the emulator keeps it */
    char *disassembly;
} instruction;

enum { BUCKETS = 1 << 16 };

static instruction *buckets[BUCKETS];
static const char *out_path;

/* The record of an address: the same code is translated again and again, as the end of other blocks. */
static instruction *record_of(const struct qemu_plugin_insn *insn)
{
    const uint64_t address = qemu_plugin_insn_vaddr(insn);
    instruction **bucket = &buckets[(address >> 1) % BUCKETS];
    instruction *record;

    for (record = *bucket; record != NULL; record = record->next) {
        if (record->address == address) {
            return record;
        }
    }
    record = calloc(1, sizeof *record);
    if (record == NULL) {
        abort();
    }
    record->next = *bucket;
    record->address = address;
    record->symbol = qemu_plugin_insn_symbol(insn);
    record->disassembly = qemu_plugin_insn_disas(insn);
    *bucket = record;
    return record;
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
    const size_t size = qemu_plugin_tb_n_insns(tb);
    size_t i;

    (void)id;
    for (i = 0; i < size; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
                                                   &record_of(insn)->count, 1);
    }
}

static void on_exit_of_program(uint64_t id, void *data)
{
    FILE *file = fopen(out_path, "w");
    size_t i;

    (void)id;
    (void)data;
    if (file == NULL) {
        perror(out_path);
        abort();
    }
    for (i = 0; i < BUCKETS; i++) {
        const instruction *record;

        for (record = buckets[i]; record != NULL; record = record->next) {
            fprintf(file, "%" PRIx64 " %" PRIx64 " %s %s\n", record->address, record->count,
                    record->symbol == NULL || *record->symbol == 0 ? "-" : record->symbol,
                    record->disassembly == NULL ? "" : record->disassembly);
        }
    }
    if (fclose(file) != 0) {
        perror(out_path);
        abort();
    }
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
    int i;

    (void)info;
    for (i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) {
            out_path = strdup(argv[i] + 4);
        }
    }
    if (out_path == NULL) {
        fprintf(stderr, "count_multiplies: say out=FILE\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit_of_program, NULL);
    return 0;
}
