/* SPDX-License-Identifier: MIT */
#include "display.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "interrupt.h"
#include "output.h"

enum { METER_WIDTH = 12, LEAST_WIDTH = 10 };
static const double METER_FLOOR_DB = -60.0, METER_INTERVAL_S = 0.1;

void display_init(struct display *display, int flags)
{
    memset(display, 0, sizeof *display);
    display->json = (flags & DISPLAY_JSON) != 0;
    display->quiet = (flags & DISPLAY_QUIET) != 0;
    display->verbose = (flags & DISPLAY_VERBOSE) != 0;
    display->growing = (flags & (DISPLAY_JSON | DISPLAY_PLAIN)) == 0 && isatty(STDOUT_FILENO);
    display->meter = (flags & DISPLAY_METER) != 0 && (flags & (DISPLAY_QUIET | DISPLAY_PLAIN)) == 0 &&
                     isatty(STDERR_FILENO);
}

static void clear_meter(struct display *display)
{
    if (display->meter_shown) {
        fputs("\x1b[K", stderr);
        display->meter_shown = 0;
    }
}

static size_t line_width(void)
{
    const char *columns = getenv("COLUMNS");
    struct winsize window;
    long width = columns == NULL ? 0 : atol(columns);

    if (width <= 0) {
        width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
    }
    width -= METER_WIDTH + 24;
    return width > LEAST_WIDTH ? (size_t)width : LEAST_WIDTH;
}

/* The digit, or the label that is none, behind those that are there. */
static void grow(struct display *display, const char *text)
{
    const size_t length = strlen(text);

    if (display->line_length > 0 && display->line_length + length > line_width()) {
        putchar('\n');
        display->line_length = 0;
    }
    if (display->line_length > 0 && length > 1) {
        putchar(' ');
        display->line_length++;
    }
    fputs(text, stdout);
    display->line_length += length;
}

int display_word(struct display *display, const heard_word *word, struct problem *problem)
{
    const int digit = digit_of(word->label);
    char number[2] = {(char)('0' + digit), '\0'};
    const char *text = digit < 0 ? word->label : number;
    int status;

    clear_meter(display);
    if (display->json) {
        write_word_json(stdout, word);
    } else if (display->growing) {
        grow(display, text);
    } else {
        printf("%s\n", text);
    }
    status = output_flush(problem);
    if (status == 0 && display->verbose) {
        display_note(display, "%s %.2f to %.2f s, confidence %.2f", word->label, word->start_s, word->end_s,
                     (double)word->confidence);
    }
    return status;
}

void display_level(struct display *display, double rms_db, unsigned long long dropped)
{
    const double now_s = clock_s(), level = rms_db > METER_FLOOR_DB ? rms_db : METER_FLOOR_DB;
    int i, filled;

    if (!display->meter || now_s < display->next_meter_s) {
        return;
    }
    display->next_meter_s = now_s + METER_INTERVAL_S;
    filled = (int)((double)METER_WIDTH * (1.0 - level / METER_FLOOR_DB) + 0.5);
    clear_meter(display);
    /* Save the cursor, draw behind the digits, return: the next digit overwrites the meter. */
    fputs("\x1b[s  [", stderr);
    for (i = 0; i < METER_WIDTH; i++) {
        putc(i < filled ? '#' : '-', stderr);
    }
    fprintf(stderr, "] %4.0f dB", level);
    if (dropped > 0) {
        fprintf(stderr, "  dropped %llu", dropped);
    }
    fputs("\x1b[u", stderr);
    fflush(stderr);
    display->meter_shown = 1;
}

static void show_line(struct display *display, const char *format, va_list arguments)
{
    display_end(display);
    vfprintf(stderr, format, arguments);
    putc('\n', stderr);
    fflush(stderr);
}

void display_note(struct display *display, const char *format, ...)
{
    va_list arguments;

    if (!display->quiet) {
        va_start(arguments, format);
        show_line(display, format, arguments);
        va_end(arguments);
    }
}

void display_warning(struct display *display, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    show_line(display, format, arguments);
    va_end(arguments);
}

void display_end(struct display *display)
{
    clear_meter(display);
    if (display->line_length > 0) {
        putchar('\n');
        fflush(stdout);     /* a failure is found by whoever flushes next */
        display->line_length = 0;
    }
}
