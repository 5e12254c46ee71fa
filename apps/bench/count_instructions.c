/* SPDX-License-Identifier: MIT
 *
 * Instructions that a worker executes per step, counted one by one.
 *
 *     count_instructions LIMIT OUTPUT COMMAND...
 *
 * Runs COMMAND (a worker; its standard input and output are passed on) under ptrace. Between a first and a
 * second SIGUSR2 its main thread is single-stepped and the stops are counted; see `mark` in worker.h. The
 * first three pairs enclose nothing: their median is the cost of the marks and is taken off the others.
 * Writes the list of counts to OUTPUT as JSON; a region beyond LIMIT counts as null. A repeated string
 * instruction counts once. Needs no hardware counters, so it also works in a virtual machine, and
 * takes any instruction set.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <elf.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EMPTY_PAIRS = 3, MAX_PAIRS = 64 };

/* The program counter. */
static unsigned long long position(pid_t child)
{
    struct user_regs_struct registers;
    struct iovec area = {&registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, child, (void *)NT_PRSTATUS, &area) != 0)
        return 0;
#if defined(__x86_64__)
    return registers.rip;
#elif defined(__aarch64__)
    return registers.pc;
#else
    return 0;
#endif
}

static int write_counts(const char *path, const long long *counts, int pairs)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return 1;
    /* The median of three: the middle one of the empty pairs. */
    long long a = counts[0], b = counts[1], c = counts[2];
    const long long empty = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
    fputc('[', file);
    for (int i = EMPTY_PAIRS; i < pairs; i++) {
        fputs(i > EMPTY_PAIRS ? "," : "", file);
        if (counts[i] < 0)
            fputs("null", file);
        else
            fprintf(file, "%lld", counts[i] - empty);
    }
    fputs("]\n", file);
    return fclose(file) != 0;
}

int main(int argc, char **argv)
{
    static long long counts[MAX_PAIRS];
    if (argc < 4) {
        fprintf(stderr, "usage: count_instructions LIMIT OUTPUT COMMAND...\n");
        return 2;
    }
    const long long limit = strtoll(argv[1], NULL, 10);
    const pid_t child = fork();
    if (child < 0)
        return 1;
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    int status, inside = 0, pairs = 0;
    long long count = 0;
    unsigned long long last = 0;
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        const int signal = WSTOPSIG(status);
        long deliver = 0;
        if (signal == SIGUSR2) {
            if (inside && pairs < MAX_PAIRS)
                counts[pairs++] = count;
            inside = !inside;
            count = 0;
        } else if (signal != SIGTRAP) {
            deliver = signal;
        } else if (inside && count >= 0) {
            const unsigned long long now = position(child);
            count += now == 0 || now != last;
            last = now;
            if (count > limit)
                count = -1; /* give up: run to the second mark at full speed */
        }
        if (ptrace(inside && count >= 0 ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, (void *)deliver) != 0)
            break;
    }
    if (pairs < EMPTY_PAIRS || write_counts(argv[2], counts, pairs) != 0)
        return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
#else
int main(void)
{
    fprintf(stderr, "count_instructions: only on Linux\n");
    return 1;
}
#endif
