/* SPDX-License-Identifier: MIT */
#include "semihosting.h"

#include <string.h>

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { MODE_READ = 0, MODE_WRITE = 4, MODE_APPEND = 8 };    /* of ":tt": standard input, output, error */
enum { APPLICATION_EXIT = 0x20026 };

static uint32_t call(uint32_t operation, const uint32_t *arguments)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const uint32_t *r1 __asm__("r1") = arguments;

    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

/* The handle of a standard stream. */
static uint32_t handle_of(uint32_t mode)
{
    static uint32_t handles[3];     /* handle + 1; 0: not open yet */
    uint32_t *handle = &handles[mode / MODE_WRITE];

    if (*handle == 0) {
        const uint32_t arguments[] = { (uint32_t)":tt", mode, 3 };

        *handle = call(SYS_OPEN, arguments) + 1;
    }
    return *handle - 1;
}

/* A call may read less than what is still to come. */
size_t read_input(void *data, size_t size)
{
    char *to = data;
    size_t left = size;

    while (left > 0) {
        const uint32_t arguments[] = { handle_of(MODE_READ), (uint32_t)to, left };
        const uint32_t unread = call(SYS_READ, arguments);

        if (unread >= left) {
            break;
        }
        to += left - unread;
        left = unread;
    }
    return size - left;
}

static void write_to(uint32_t mode, const void *data, size_t size)
{
    const uint32_t arguments[] = { handle_of(mode), (uint32_t)data, size };

    if (call(SYS_WRITE, arguments) != 0) {
        stop(2);
    }
}

void write_output(const void *data, size_t size)
{
    write_to(MODE_WRITE, data, size);
}

void report_text(const char *text)
{
    write_to(MODE_APPEND, text, strlen(text));
}

void report(const char *name, uint32_t number)
{
    char digits[12] = " ";
    char *end = digits + sizeof digits - 2, *begin = end;

    end[0] = '\n';
    end[1] = 0;
    do {
        *--begin = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    report_text(name);
    report_text(begin);
}

_Noreturn void stop(uint32_t status)
{
    const uint32_t arguments[] = { APPLICATION_EXIT, status };

    for (;;) {
        call(SYS_EXIT_EXTENDED, arguments);
    }
}
