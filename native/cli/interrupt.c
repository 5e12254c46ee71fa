/* SPDX-License-Identifier: MIT */
#include "interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "problem.h"

static volatile sig_atomic_t came;
static int wake[2] = {-1, -1};      /* a pipe: a signal between a test and a wait must not be slept over */

static void on_signal(int number)
{
    const int kept = errno;

    (void)number;
    came = 1;
    if (write(wake[1], "", 1) < 0) {
        /* full: the waiting are woken anyway */
    }
    errno = kept;
}

void interrupt_catch(void)
{
    struct sigaction action;

    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) {
        wake[0] = wake[1] = -1;
    }
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    sigaction(SIGPIPE, &action, NULL);
}

int interrupt_came(void)
{
    return came;
}

int wait_readable(int first, int second, int timeout_ms)
{
    struct pollfd polled[3] = {{wake[0], POLLIN, 0}, {first, POLLIN, 0}, {second, POLLIN, 0}};
    int ready;

    if (came) {
        return INTERRUPTED;
    }
    ready = poll(polled, 3, timeout_ms);
    if (came) {
        return INTERRUPTED;
    }
    if (ready <= 0) {
        return 0;       /* EINTR of another signal: as if nothing had come yet */
    }
    return (polled[1].revents != 0) | (polled[2].revents != 0) << 1;
}

double clock_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
