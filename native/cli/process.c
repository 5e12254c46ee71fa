/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int is_program(const char *path)
{
    struct stat about;

    return stat(path, &about) == 0 && S_ISREG(about.st_mode) && access(path, X_OK) == 0;
}

int process_find(const char *name, char *path_out, size_t size)
{
    const char *place = getenv("PATH");

    if (strchr(name, '/') != NULL) {
        return (size_t)snprintf(path_out, size, "%s", name) < size && is_program(name);
    }
    if (place == NULL) {
        place = "/usr/local/bin:/usr/bin:/bin";
    }
    for (;;) {
        const size_t length = strcspn(place, ":");

        if (length > 0 && (size_t)snprintf(path_out, size, "%.*s/%s", (int)length, place, name) < size &&
            is_program(path_out)) {
            return 1;
        }
        if (place[length] == '\0') {
            return 0;
        }
        place += length + 1;
    }
}

/* The new process, up to the program: what fails is told by the pipe, which closes when the program begins. */
static void become(const char *path, char *const *arguments, const char *const *settings, const int *descriptors,
                   int tell)
{
    sigset_t none;
    int i;

    setsid();
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (i = 0; i < 3; i++) {
        const int from = descriptors[i] >= 0 ? descriptors[i] : open("/dev/null", O_RDWR | O_CLOEXEC);

        if (from < 0 || (from != i && dup2(from, i) < 0)) {
            break;
        }
    }
    for (; *settings != NULL; settings++) {
        putenv((char *)(size_t)*settings);      /* this process's own copy of the text */
    }
    if (i == 3) {
        execv(path, arguments);
    }
    i = errno;
    if (write(tell, &i, sizeof i) != (ssize_t)sizeof i) {
        /* nobody can be told */
    }
    _exit(127);
}

pid_t process_start(const char *path, char *const *arguments, const char *const *settings, int input, int output,
                    int errors)
{
    const int descriptors[3] = {input, output, errors};
    int tell[2], failure = 0;
    pid_t process;
    ssize_t got;

    if (pipe2(tell, O_CLOEXEC) != 0) {
        return -1;
    }
    process = fork();
    if (process == 0) {
        become(path, arguments, settings, descriptors, tell[1]);
    }
    close(tell[1]);
    if (process < 0) {
        failure = errno;
        close(tell[0]);
        errno = failure;
        return -1;
    }
    do {
        got = read(tell[0], &failure, sizeof failure);
    } while (got < 0 && errno == EINTR);
    close(tell[0]);
    if (got == (ssize_t)sizeof failure) {
        waitpid(process, NULL, 0);
        errno = failure;
        return -1;
    }
    return process;
}

int process_wait(pid_t process, int *status_out)
{
    const struct timespec pause = {0, 10 * 1000 * 1000};
    int i;

    for (i = 0; i < 100; i++) {
        const pid_t ended = waitpid(process, status_out, WNOHANG);

        if (ended == process || (ended < 0 && errno != EINTR)) {
            return 1;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* If the kernel holds it in a driver it ends when that lets go; nobody waits for that. */
void process_end(pid_t process)
{
    int status;

    kill(process, SIGTERM);
    if (!process_wait(process, &status)) {
        kill(-process, SIGKILL);
        process_wait(process, &status);
    }
}
