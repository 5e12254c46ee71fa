/* SPDX-License-Identifier: MIT
 *
 * Where the parser refuses files: find_rejections FILE ...
 *
 * Linked with the parser as a shared library without optimization, of which er_parser_fail is taken by this program, so
 * that the calls that led there can be written down. Prints a line per file: its status, rule, offset, expected and
 * found values, then the return addresses within the library, innermost first; "accepted" if it was not refused.
 * tests/test_rejections.py compares them with all calls that are there. Linux with glibc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "files.h"
#include "format_parser.h"

enum { MOST_FRAMES = 32 };

static void *frames[MOST_FRAMES];
static int frame_count;

er_status er_parser_fail(er_parser *parser, uint32_t rule, uint64_t offset, int64_t expected, int64_t found)
{
    er_status (*next)(er_parser *, uint32_t, uint64_t, int64_t, int64_t);

    *(void **)&next = dlsym(RTLD_NEXT, "er_parser_fail");
    frame_count = backtrace(frames, MOST_FRAMES);
    return next(parser, rule, offset, expected, found);
}

int main(int argc, char **argv)
{
    Dl_info library, here;
    int i, k;

    if (dladdr((void *)(uintptr_t)er_format_parse, &library) == 0 || dladdr((void *)(uintptr_t)main, &here) == 0) {
        stop("dladdr", "failed");
    }
    for (i = 1; i < argc; i++) {
        static struct er_model model;
        size_t size;
        uint8_t *data = read_file(argv[i], &size);
        er_error error;

        frame_count = 0;
        if (er_format_parse(data, size, &model, &error) == ER_OK) {
            printf("accepted\n");
        } else {
            printf("%" PRId32 " %" PRIu32 " %" PRIu64 " %" PRId64 " %" PRId64, error.status, error.rule, error.offset,
                   error.expected, error.found);
            for (k = 0; k < frame_count; k++) {
                Dl_info place;

                if (dladdr(frames[k], &place) != 0 && place.dli_fbase == library.dli_fbase) {
                    printf(" %" PRIxPTR, (uintptr_t)frames[k] - (uintptr_t)place.dli_fbase);
                }
            }
            printf("\n");
        }
        free(data);
    }
    return 0;
}
