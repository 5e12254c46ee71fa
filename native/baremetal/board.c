/* SPDX-License-Identifier: MIT */
#include "board.h"

#include <stdint.h>
#include <string.h>

#include "semihosting.h"

enum { PAINT = 0x5A };          /* of stack that was not used yet */

/* Addresses that sections.ld sets. */
extern char _data_begin[], _data_end[], _bss_begin[], _bss_end[], _arena_begin[], _stack_limit[], _stack_top[];
extern const char _data_source[];

_Noreturn void reset(void);

static _Noreturn void fault(void)
{
    report_text("fault\n");
    stop(3);
}

/* Of the vectors only those that every Cortex-M has; no interrupt is enabled. */
__attribute__((section(".vectors"), used)) static const struct {
    char *stack_top;
    void (*handlers[15])(void);
} vectors = { _stack_top, { reset, fault, fault } };

_Noreturn void reset(void)
{
    char here;

    memset(_stack_limit, PAINT, (size_t)(&here - _stack_limit) - 64);     /* 64: of memset itself */
    memcpy(_data_begin, _data_source, (size_t)(_data_end - _data_begin));
    memset(_bss_begin, 0, (size_t)(_bss_end - _bss_begin));
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;     /* CPACR: the floating-point unit may be used */
    __asm__ volatile("dsb\n\tisb");
#endif
    stop((uint32_t)main());
}

char *arena_begin(void)
{
    return _arena_begin;
}

size_t arena_bytes(void)
{
    return (size_t)(_stack_limit - _arena_begin);
}

size_t stack_bytes_used(void)
{
    const char *p = _stack_limit;

    while (*p == PAINT) {
        p++;
    }
    if (p == _stack_limit) {
        report_text("the stack is full: raise STACK_BYTES\n");
        stop(3);
    }
    return (size_t)(_stack_top - p);
}
